"""What every answer and request has to satisfy: security headers, and a Host that is ours."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "form-action 'self'",
    )
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

REFUSAL = (
    "This host name is not served here. "
    "Use http://127.0.0.1 with the port, or set HEADRACE_WEB_HOST to the name.\n"
)


async def secure(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler: complete an answer's headers; those it has stay."""
    if isinstance(response, web.FileResponse):
        response.headers["Cache-Control"] = "no-cache"  # ask again, with the ETag
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "Headrace"


def host_guard(hosts: Collection[str]) -> Middleware:
    """Middleware against DNS rebinding: a web page elsewhere must not read ours under its name.

    Served are loopback names and addresses and the given hosts; any address where one of those
    is the wildcard 0.0.0.0 or ::, as rebinding needs a name.
    """
    names = {host.strip("[]").lower() for host in hosts}
    any_address = any(_is(host, "is_unspecified") for host in names)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = host_of(request.headers.get("Host", ""))
        loopback = host == "localhost" or host.endswith(".localhost") or _is(host, "is_loopback")
        if loopback or host in names or (any_address and _is_address(host)):
            return await handler(request)
        return web.Response(status=403, text=REFUSAL)

    return guard


def host_of(header: str) -> str:
    """The name or address in a Host header, without its port."""
    header = header.strip().lower()
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].removesuffix(".")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is(host: str, kind: str) -> bool:
    return _is_address(host) and bool(getattr(ipaddress.ip_address(host), kind))
