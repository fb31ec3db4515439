"use strict";
// What the page carries: an index of all questions, and chunks that are unpacked when they are asked for. No display.

const unpack = async (text) => {
  if (typeof DecompressionStream === "undefined") throw new Error("this browser cannot unpack the questions; use one of 2023 or later");
  const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
};

const strings = function* (value) {
  if (typeof value === "string") yield value;
  else if (value && typeof value === "object") for (const part of Object.values(value)) yield* strings(part);
};

class Data {
  static KEPT = 6;

  constructor(index, chunks) {
    this.index = index;
    this.chunks = chunks;
    this.kept = new Map();
    this.words = [];
  }

  static async open() {
    const chunks = [...document.querySelectorAll("script.chunk")];
    return new Data(await unpack(document.getElementById("index").textContent), chunks);
  }

  get count() { return this.index.ids.length; }

  score(subject, n) { return this.index.scores[subject][n]; }

  // right, part, wrong, none (no judgment could be read) or missing (not asked)
  mark(score) {
    if (score === "x" || score === undefined) return "missing";
    if (score === null || typeof score !== "number") return "none";
    return score >= this.index.best ? "right" : score <= 0 ? "wrong" : "part";
  }

  known(n) { return this.index.scores.map((column) => column[n]).filter((score) => typeof score === "number"); }

  spread(n) {
    const known = this.known(n);
    return known.length ? Math.max(...known) - Math.min(...known) : 0;
  }

  chunkOf(n) {
    let low = 0, high = this.chunks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.index.starts[middle] <= n) low = middle; else high = middle - 1;
    }
    return low;
  }

  chunk(c) {
    if (!this.kept.has(c)) {
      this.kept.set(c, unpack(this.chunks[c].textContent));
      if (this.kept.size > Data.KEPT) this.kept.delete(this.kept.keys().next().value);
    }
    return this.kept.get(c);
  }

  async sample(n) {
    const c = this.chunkOf(n);
    return (await this.chunk(c))[n - this.index.starts[c]];
  }

  // The lower-case words of all samples of a chunk, kept from the first search on.
  async wordsOf(c) {
    if (!this.words[c]) {
      const start = this.index.starts[c];
      const join = (sample, n) => [this.index.ids[start + n], ...strings(sample)].join("\n").toLowerCase();
      this.words[c] = (await unpack(this.chunks[c].textContent)).map(join);
    }
    return this.words[c];
  }

  // Numbers of the samples that hold the text; null if `stale` says that nobody waits any more.
  async search(text, stale, tell) {
    const found = new Set();
    for (let c = 0; c < this.chunks.length; c++) {
      tell(c, this.chunks.length);
      const words = await this.wordsOf(c);
      if (stale()) return null;
      words.forEach((all, n) => { if (all.includes(text)) found.add(this.index.starts[c] + n); });
    }
    return found;
  }
}
