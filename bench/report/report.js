(() => {
  const root = document.documentElement;
  document.getElementById("theme").onclick = () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  };
  const find = document.getElementById("find"), category = document.getElementById("category");
  const wrong = document.getElementById("wrong"), count = document.getElementById("count");
  const pages = [...document.querySelectorAll("details.q")];
  const filter = () => {
    const text = find.value.toLowerCase();
    let shown = 0;
    for (const page of pages) {
      page.hidden = (category.value && page.dataset.category !== category.value) || (wrong.checked && page.dataset.right === "1")
        || (text && !page.textContent.toLowerCase().includes(text));
      shown += !page.hidden;
    }
    count.textContent = `${shown} of ${pages.length}`;
  };
  find.oninput = category.onchange = wrong.onchange = filter;
  const open = () => { const page = document.getElementById(decodeURIComponent(location.hash.slice(1))); if (page && page.matches("details")) page.open = true; };
  addEventListener("hashchange", open);
  filter();
  open();
})();
