// Makes the server's pages live: rows follow the table, a new query replaces them without a reload.
// Every text of an event is set as textContent; nothing is ever read as HTML but our own pages.

const TYPING_MS = 250;
const AGAIN_MS = 3000;
const FLASH_MS = 1400;

const connection = document.getElementById("connection");
const still = matchMedia("(prefers-reduced-motion: reduce)");
let stream = null;
let again = 0;
let visiting = null;

function view() {
  return document.getElementById("view");
}

function setText(name, text) {
  const place = document.querySelector(`[data-text="${name}"]`);
  if (place && place.textContent !== text) place.textContent = text;
}

function showConnection(state) {
  connection.dataset.state = state;
  setText("connection", state);
}

// ---- live rows

function follow() {
  clearTimeout(again);
  stream?.close();
  stream = null;
  const shown = view();
  if (!shown?.dataset.events || document.hidden) return;
  const source = new EventSource(shown.dataset.events);
  source.addEventListener("open", () => showConnection("live"));
  source.addEventListener("page", (event) => {
    if (source === stream) update(shown, JSON.parse(event.data));
  });
  source.addEventListener("error", () => {
    if (source !== stream) return;
    showConnection("reconnecting");
    if (source.readyState === EventSource.CLOSED) again = setTimeout(follow, AGAIN_MS);
  });
  stream = source;
}

function update(shown, page) {
  updateRows(shown, page.rows);
  if (page.status === undefined) return;
  setText("status", page.status);
  setText("window", page.window);
  setLink("earlier", page.earlier);
  setLink("later", page.later);
  setWindows(page.windows);
}

function updateRows(shown, rows) {
  const body = shown.querySelector("tbody");
  const known = new Map([...body.rows].map((row) => [row.dataset.id, row]));
  const next = rows.map(([id, cells]) => {
    const row = known.get(id);
    if (!row) return newRow(shown, id, cells);
    updateCells(row, cells);
    return row;
  });
  const moved = next.length !== body.rows.length || next.some((row, at) => row !== body.rows[at]);
  if (moved) body.replaceChildren(...next);
}

function newRow(shown, id, cells) {
  const row = document.createElement("tr");
  row.dataset.id = id;
  cells.forEach((cell, at) => {
    const kind = shown.dataset.kinds[at];
    const place = row.appendChild(document.createElement(kind === "h" ? "th" : "td"));
    if (kind === "h") place.scope = "row";
    if (kind === "n") place.className = "number";
    setCell(place, cell);
  });
  return row;
}

function updateCells(row, cells) {
  const live = row.querySelectorAll("[data-live]");
  const places = live.length ? live : row.cells;
  cells.forEach((cell, at) => {
    const place = places[at];
    if (place.textContent === cell[0] && place.title === cell[1]) return;
    setCell(place, cell);
    if (!still.matches) place.animate([{ backgroundColor: "var(--flash)" }, {}], FLASH_MS);
  });
}

function setCell(place, [text, hint]) {
  place.textContent = text;
  if (hint) place.title = hint;
  else place.removeAttribute("title");
}

function setLink(id, address) {
  const link = document.getElementById(id);
  if (address) link.setAttribute("href", address);
  else link.removeAttribute("href");
}

function setWindows(windows) {
  const select = document.getElementById("window");
  if (!select) return;
  const same = windows.length === select.options.length
    && windows.every(([value, label], at) => select.options[at].value === value && select.options[at].text === label);
  if (same || select === document.activeElement) return;
  const chosen = select.value;
  select.replaceChildren(...windows.map(([value, label]) => new Option(label, value, false, value === chosen)));
}

// ---- new queries

async function visit(address, { history: keep, form: replaceForm }) {
  visiting?.abort();
  visiting = new AbortController();
  let text;
  try {
    const answer = await fetch(address, { signal: visiting.signal });
    if (!answer.ok) return location.assign(address);
    text = await answer.text();
  } catch (error) {
    if (error.name !== "AbortError") location.assign(address);
    return;
  }
  const page = new DOMParser().parseFromString(text, "text/html");
  const focused = document.activeElement?.id;
  view().replaceWith(document.adoptNode(page.getElementById("view")));
  if (replaceForm) document.querySelector("form").replaceWith(document.adoptNode(page.querySelector("form")));
  setText("status", page.querySelector('[data-text="status"]').textContent);
  for (const id of ["earlier", "later"]) setLink(id, page.getElementById(id).getAttribute("href"));
  if (focused && document.activeElement === document.body) document.getElementById(focused)?.focus();
  if (keep) history[keep](null, "", view().dataset.url);
  follow();
}

function submit(form, keep) {
  const given = [...new FormData(form)].filter(([, value]) => value !== "");
  visit(`${location.pathname}?${new URLSearchParams(given)}`, { history: keep, form: false });
}

function listen() {
  let typing = 0;
  document.addEventListener("input", (event) => {
    if (event.target.type !== "search") return;
    clearTimeout(typing);
    typing = setTimeout(() => submit(event.target.form, "replaceState"), TYPING_MS);
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("select")) submit(event.target.form, "pushState");
  });
  document.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    submit(event.target, "replaceState");
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("thead a[href], .foot a[href]");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    visit(link.href, { history: "pushState", form: true });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.matches("input, select")) return;
    const box = document.querySelector("input[type=search]");
    if (box) event.preventDefault();
    box?.focus();
  });
  addEventListener("popstate", () => {
    if (document.querySelector("form")) visit(location.href, { form: true });
  });
}

if (view()) {
  document.documentElement.classList.add("live");
  listen();
  document.addEventListener("visibilitychange", follow);
  follow();
}
