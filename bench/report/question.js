// The page of one question: every turn, every answer with its score, every agent's turn, and the judges' words.
// All text becomes text nodes, never markup.

const LONG = 1600;

class Question {
  constructor(data, n, sample) {
    this.data = data;
    this.n = n;
    this.sample = sample;
    this.answers = Object.entries(sample.answers || {}).map(([s, turns]) => ({ ...data.index.subjects[s], number: Number(s), turns }));
  }

  render(go) {
    const { ids, category, categories } = this.data.index, { turns = [], data } = this.sample;
    const bar = el("p", { class: "bar" }, el("a", { href: `#q-${encodeURIComponent(ids[this.n])}`, class: "id" }, ids[this.n]),
      el("span", { class: "cat" }, categories[category[this.n]]),
      ...[["‹", -1, "the question before (k)"], ["›", 1, "the next question (j)"], ["×", 0, "close (Esc)"]].map(([sign, step, told]) => {
        const button = el("button", { title: told, "aria-label": told }, sign);
        button.onclick = () => go(step);
        return button;
      }));
    const count = Math.max(turns.length, ...this.answers.map((answer) => answer.turns.length));
    const parts = Array.from({ length: count }, (_, t) => this.turn(t, count)).flat();
    const known = data && el("details", { class: "more" }, el("summary", {}, "what the grader knows"), el("pre", {}, JSON.stringify(data, null, 1)));
    return [bar, ...parts, known].filter(Boolean);
  }

  turn(t, count) {
    const { turns = [], references = [] } = this.sample;
    const at = this.answers.filter((answer) => answer.turns[t]);
    const together = (answer) => { const { answers, finals, steps, selected } = answer.turns[t]; return answers || finals || steps || selected; };
    const joint = at.filter((answer) => answer.shown && together(answer));
    const alone = at.filter((answer) => answer.alone && !joint.includes(answer));
    const more = at.filter((answer) => !joint.includes(answer) && !alone.includes(answer));
    return [
      count > 1 && el("h4", {}, `Turn ${t + 1}`),
      turns[t] ? el("blockquote", {}, turns[t]) : el("p", { class: "ref" }, "The question is not in this log."),
      references[t] && el("p", { class: "ref" }, `Reference: ${references[t]}`),
      ...joint.map((answer, i) => this.block(answer, t, i ? [] : alone)),
      this.fold(joint.length ? "alone" : "answers", alone, t, !joint.length),
      this.fold(joint.length || alone.length ? "others" : "answers", more, t, more.length <= 4 || (!joint.length && !alone.length)),
    ].filter(Boolean);
  }

  fold(title, answers, t, open) {
    if (!answers.length) return null;
    return el("details", { class: "more", open }, el("summary", {}, `${title} (${answers.length})`), answers.map((answer) => this.block(answer, t, [])));
  }

  // `alone`: the devices whose own answers stand beside those in this collaboration.
  block(answer, t, alone) {
    const turn = answer.turns[t], bytes = Object.values(turn.bytes || {}).reduce((a, b) => a + b, 0);
    const cost = [turn.seconds && `${turn.seconds.toFixed(2)} s`, bytes && showBytes(bytes), turn.tokens && `${turn.tokens} tokens`].filter(Boolean).join(" · ");
    const links = Object.entries(turn.bytes || {}).map(([link, count]) => `${link}: ${showBytes(count)}`).join("\n");
    return el("div", { class: "joint" },
      el("p", {}, el("b", {}, answer.name), " ", this.badge(turn), turn.selected && ` selected ${turn.selected.join(", ")} `,
        cost && el("span", { class: "cost", title: links || undefined }, ` ${cost}`)),
      turn.error ? el("p", { class: "error" }, turn.error) : words(turn.text),
      this.voices(turn, t, alone), this.steps(turn.steps || []), (turn.judgments || []).map((judgment) => this.judgment(judgment)));
  }

  badge(turn) {
    const mark = this.data.mark(turn.score), { best, digits } = this.data.index;
    const plain = { right: "right", wrong: turn.error ? "error" : "wrong", none: "no judgment read" }[mark];
    const number = typeof turn.score === "number" ? turn.score.toFixed(digits) : "";
    return el("span", { class: `grade ${mark}` }, mark === "none" || best === 100 || best === 1 || turn.error ? plain || number : number);
  }

  voices(turn, t, alone) {
    const own = Object.fromEntries(alone.map((answer) => [answer.name, answer.turns[t]]));
    const columns = [["alone", own], ["answer", turn.answers || {}], ["revised", turn.finals || {}]].filter(([, said]) => Object.keys(said).length);
    const names = [...new Set(columns.flatMap(([, said]) => Object.keys(said)))];
    if (!names.length || !(turn.answers || turn.finals)) return null;
    const cell = (said) => said
      ? el("td", { class: said.score === null ? "" : this.data.mark(said.score) },
        ![1, 100].includes(this.data.index.best) && typeof said.score === "number" && el("b", { class: "mark" }, said.score.toFixed(this.data.index.digits)), words(said.text || said.error))
      : el("td", { class: "none" }, "–");
    return el("table", { class: "voices" },
      el("thead", {}, el("tr", {}, el("th", {}), columns.map(([head]) => el("th", {}, head)))),
      names.map((name) => el("tr", { class: (turn.selected || []).includes(name) ? "chosen" : "" }, el("th", {}, name), columns.map(([, said]) => cell(said[name])))));
  }

  steps(steps) {
    if (!steps.length) return null;
    const start = (step) => step.started || 0, took = (step) => step.seconds || 0;
    const begin = Math.min(...steps.map(start)), end = Math.max(...steps.map((step) => start(step) + took(step))), span = Math.max(end - begin, 1e-9);
    return el("table", { class: "steps" }, steps.map((step) => {
      const line = el("i");
      line.style.left = `${(100 * (start(step) - begin)) / span}%`;
      line.style.width = `${Math.max((100 * took(step)) / span, 0.4)}%`;
      const parts = Object.entries(step.parts || {}).map(([part, seconds]) => ` · ${part} ${Math.round(1000 * seconds)}`);
      const bytes = Object.values(step.bytes || {}).reduce((a, b) => a + b, 0);
      return el("tr", { class: step.ok === false ? "error" : "" }, el("td", {}, step.step), el("td", {}, step.agent), el("td", { class: "line" }, line),
        el("td", {}, `${Math.round(1000 * took(step))} ms`, parts), el("td", {}, showBytes(bytes)), el("td", {}, step.error || step.note));
    }));
  }

  judgment({ judge, label, verdict, score, text, tokens, seconds }) {
    const told = [verdict && `verdict ${verdict}`, typeof score === "number" ? `score ${score}` : verdict ? "" : "could not be read",
      tokens && `${tokens} tokens`, seconds && `${seconds.toFixed(2)} s`].filter(Boolean).join(" · ");
    const summary = el("summary", {}, el("b", {}, judge), label && ` · ${label}`, ` · ${told}`);
    return el("details", { class: "judgment", open: (text || "").length <= 400 }, summary, words(text));
  }
}

const words = (text) => {
  if (!text) return el("div", { class: "text empty" }, "(empty)");
  const box = el("div", { class: "text" }, text);
  if (text.length <= LONG && text.split("\n").length <= 24) return box;
  box.classList.add("long");
  const button = el("button", { class: "all" }, "show all");
  button.onclick = () => { box.classList.remove("long"); button.remove(); };
  return el("div", {}, box, button);
};

const showBytes = (count) => {
  for (const [unit, step] of [["GB", 1e9], ["MB", 1e6], ["KB", 1e3]]) if (count >= step) return `${(count / step).toFixed(1)} ${unit}`;
  return `${Math.round(count)} B`;
};
