// The list of questions: only the rows in sight are in the document.

const el = (name, attributes, ...children) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {}))
    if (value !== undefined && value !== false) node.setAttribute(key, value === true ? "" : value);
  node.append(...children.flat(3).filter((child) => child || child === 0));
  return node;
};

const OUTCOMES = [
  ["any", "any outcome"], ["right", "right"], ["notright", "not fully right"], ["wrong", "wrong"],
  ["disagree", "models disagree"], ["only", "only this model right"], ["lone", "only this model not right"],
  ["none", "no judgment read"], ["error", "error"], ["missing", "not asked"],
];

class List {
  static HEIGHT = 32;
  static DOTS = 16;

  constructor(data, box, open) {
    this.data = data;
    this.box = box;
    this.window = box.firstElementChild;
    this.numbers = [];
    this.current = null;
    const { subjects, lead } = data.index;
    const all = subjects.map((_, s) => s);
    this.dots = (all.length <= List.DOTS ? all : all.filter((s) => subjects[s].shown || s === lead)).slice(0, List.DOTS);
    box.addEventListener("scroll", () => this.draw(), { passive: true });
    addEventListener("resize", () => this.draw());
    box.addEventListener("click", (event) => {
      const row = event.target.closest("[data-n]");
      if (row) open(Number(row.dataset.n));
    });
  }

  set(numbers) {
    this.numbers = numbers;
    this.window.style.height = `${numbers.length * List.HEIGHT}px`;
    this.box.scrollTop = 0;
    this.reveal();
  }

  draw() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / List.HEIGHT) - 8);
    const last = Math.min(this.numbers.length, first + Math.ceil(this.box.clientHeight / List.HEIGHT) + 16);
    this.window.replaceChildren(...this.numbers.slice(first, last).map((n, i) => this.row(n, first + i)));
  }

  row(n, place) {
    const { ids, category, categories, heads, subjects } = this.data.index;
    const dots = this.dots.map((s) => {
      const score = this.data.score(s, n);
      const mark = this.data.mark(score);
      return el("i", { class: mark, title: `${subjects[s].name}: ${typeof score === "number" ? score : mark}` });
    });
    const row = el("div", { class: n === this.current ? "row now" : "row", role: "option", "data-n": n, "aria-selected": n === this.current ? "true" : "false" },
      el("span", { class: "dots" }, dots), el("span", { class: "id" }, ids[n]),
      el("span", { class: "cat" }, categories[category[n]]), heads[n]);
    row.style.top = `${place * List.HEIGHT}px`;
    return row;
  }

  // Scrolls the open question into the list's sight.
  reveal() {
    const place = this.numbers.indexOf(this.current);
    if (place >= 0) {
      const top = place * List.HEIGHT, { scrollTop, clientHeight } = this.box;
      if (top < scrollTop || top + List.HEIGHT > scrollTop + clientHeight) this.box.scrollTop = top - clientHeight / 3;
    }
    this.draw();
  }

  next(step) {
    const place = this.numbers.indexOf(this.current);
    return this.numbers[place < 0 ? 0 : place + step];
  }
}

// Numbers of the samples that pass; `found`: what a search left, or null.
const filtered = (data, { category, subject, outcome, order }, found) => {
  const { category: of, categories, errors } = data.index, wanted = categories.indexOf(category);
  const failed = new Set(errors[subject]);
  const others = data.index.subjects.map((_, s) => s).filter((s) => s !== subject);
  const mark = (s, n) => data.mark(data.score(s, n));
  const tests = {
    any: () => true,
    right: (n) => mark(subject, n) === "right",
    notright: (n) => ["part", "wrong"].includes(mark(subject, n)),
    wrong: (n) => mark(subject, n) === "wrong",
    disagree: (n) => data.spread(n) > 0,
    only: (n) => mark(subject, n) === "right" && others.every((s) => mark(s, n) !== "right"),
    lone: (n) => mark(subject, n) !== "right" && others.every((s) => mark(s, n) === "right"),
    none: (n) => mark(subject, n) === "none",
    error: (n) => failed.has(n),
    missing: (n) => mark(subject, n) === "missing",
  };
  const numbers = [];
  for (let n = 0; n < data.count; n++)
    if ((!category || of[n] === wanted) && (!found || found.has(n)) && tests[outcome](n)) numbers.push(n);
  const value = { low: (n) => (typeof data.score(subject, n) === "number" ? data.score(subject, n) : Infinity), spread: (n) => -data.spread(n) }[order];
  if (value) {
    const keys = new Map(numbers.map((n) => [n, value(n)]));
    numbers.sort((a, b) => (keys.get(a) === keys.get(b) ? a - b : keys.get(a) < keys.get(b) ? -1 : 1));
  }
  return numbers;
};
