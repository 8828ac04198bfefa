// What scrolls sideways can be scrolled by the keyboard, and each code block's tools have a name.
addEventListener("load", () => {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap, pre > code")) {
    box.tabIndex = 0;
  }
  document.querySelectorAll(".md-code__nav").forEach((tools, n) => {
    tools.setAttribute("aria-label", `code block ${n + 1}`);
  });
});
