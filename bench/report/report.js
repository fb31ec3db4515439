// Wires the page: theme, filters, search, keys, links to questions.

const by = (id) => document.getElementById(id);

by("theme").onclick = () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
};

const decoded = (text) => {
  try { return decodeURIComponent(text); } catch { return text; }
};

const start = async () => {
  const data = await Data.open();
  const article = by("question"), box = by("list"), controls = ["category", "subject", "outcome", "order"].map(by);
  const list = new List(data, box, (n) => open(n));
  const { categories, subjects, ids, lead } = data.index;
  const options = (id, pairs) => by(id).append(...pairs.map(([value, told]) => el("option", { value }, told)));
  options("category", categories.map((name) => [name, name]));
  options("subject", subjects.map(({ name }, s) => [s, name]));
  options("outcome", OUTCOMES);
  by("subject").value = lead;

  let turn = 0; // numbers the searches, so that only the last one shows
  const refresh = async () => {
    const mine = ++turn, text = by("find").value.trim().toLowerCase();
    const tell = (c, count) => { by("count").textContent = `searching, ${Math.round((100 * c) / count)} %`; };
    const found = text ? await data.search(text, () => mine !== turn, tell) : null;
    if (mine !== turn) return;
    const [category, subject, outcome, order] = controls.map((control) => control.value);
    list.set(filtered(data, { category, subject: Number(subject || 0), outcome, order }, found));
    by("count").textContent = `${list.numbers.length} of ${data.count}`;
  };

  const close = () => {
    list.current = null;
    article.hidden = true;
    article.parentElement.classList.remove("open");
    history.replaceState(null, "", "#questions");
    list.draw();
  };
  const go = (step) => {
    if (!step) return close();
    const n = list.next(step);
    return n === undefined ? undefined : open(n);
  };
  const open = async (n) => {
    list.current = n;
    const sample = await data.sample(n);
    if (list.current !== n) return;
    article.replaceChildren(...new Question(data, n, sample).render(go));
    article.hidden = false;
    article.parentElement.classList.add("open");
    article.scrollTop = 0;
    history.replaceState(null, "", `#q-${encodeURIComponent(ids[n])}`);
    list.reveal();
  };
  const follow = async () => {
    if (!location.hash.startsWith("#q-")) return;
    const n = ids.indexOf(decoded(location.hash.slice(3)));
    if (n < 0 || n === list.current) return;
    await open(n);
    by("questions").scrollIntoView();
  };

  controls.forEach((control) => { control.onchange = refresh; });
  by("find").oninput = refresh;
  addEventListener("hashchange", follow);
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const writing = event.target.matches("input, select, textarea");
    if (event.key === "Escape" && !article.hidden) return close();
    if (writing) return;
    const arrows = document.activeElement === box || article.contains(document.activeElement);
    const step = { j: 1, k: -1, ...(arrows && { ArrowDown: 1, ArrowUp: -1 }) }[event.key];
    if (step) { event.preventDefault(); go(step); }
    if (event.key === "/") { event.preventDefault(); by("find").focus(); }
  });
  await refresh();
  await follow();
};

start().then(
  () => requestAnimationFrame(() => setTimeout(() => { document.documentElement.dataset.opened = performance.now().toFixed(1); })),
  (error) => { by("count").textContent = `The questions cannot be shown: ${error.message}`; document.documentElement.dataset.failed = error.message; },
);
