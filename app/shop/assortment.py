"""Who and what the shop knows: its visitors, pages, products, countries, methods and carriers."""

from __future__ import annotations

import numpy as np
import polars as pl

VISITOR_COUNT = 20_000

VISITORS = pl.Series("visitor_id", [f"v{number:05d}" for number in range(VISITOR_COUNT)])
CUSTOMERS = pl.Series("customer_id", [f"c{number:05d}" for number in range(VISITOR_COUNT)])
"""The customer of a number is the visitor of the same number, once known by name."""

COUNTRIES = pl.Series("country", ["DE", "FR", "NL", "PL", "ES", "IT", "SE", "AT", "BE", "DK"])
COUNTRY_SHARES = np.array([0.3, 0.16, 0.12, 0.1, 0.09, 0.08, 0.05, 0.04, 0.03, 0.03])

_KINDS = ("lamp", "chair", "table", "shelf", "sofa", "rug", "desk", "bed", "mirror", "clock")
PRODUCTS = pl.Series("product", [f"{kind}-{number:02d}" for kind in _KINDS for number in range(15)])
PAGES = pl.Series(
    "page",
    ["/", "/search", "/cart", "/checkout", "/account"]
    + [f"/{kind}s" for kind in _KINDS]
    + [f"/products/{product}" for product in PRODUCTS],
)
REFERRERS = pl.Series("referrer", [None, None, "search", "newsletter", "social", "advert"])

METHODS = pl.Series("method", ["card", "paypal", "transfer", "invoice"])
METHOD_SHARES = np.array([0.5, 0.3, 0.12, 0.08])
METHOD_FAILURES = np.array([0.06, 0.03, 0.015, 0.01])
"""How often a first try fails, by method."""
REASONS = pl.Series("reason", ["declined", "expired card", "limit reached", "provider down"])
COUPONS = pl.Series("coupon", [None, None, None, None, None, "WELCOME", "SUMMER"])
CARRIERS = pl.Series("carrier", ["dhl", "ups", "gls", "dpd"])


def favourites(count: int, *, skew: float = 0.8) -> np.ndarray:
    """Shares of `count` things of which few are liked by many (Zipf's law)."""
    weights = 1 / np.arange(1, count + 1) ** skew
    shares: np.ndarray = weights / weights.sum()
    return shares
