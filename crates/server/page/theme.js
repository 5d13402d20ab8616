// Runs before the first paint, so that the page does not flash in the wrong colours.
(() => {
  const themes = ["auto", "light", "dark"];
  let theme = "auto";
  try {
    theme = localStorage.getItem("nanoscope.theme") ?? "auto";
  } catch {
    // Without storage, the system's theme is used.
  }
  const use = (/** @type {string} */ to) => {
    theme = themes.includes(to) ? to : "auto";
    document.documentElement.dataset.theme = theme;
  };
  use(theme);
  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    const show = () => {
      button.textContent = `◐ ${theme}`;
      button.setAttribute("aria-label", `Theme: ${theme}`);
    };
    show();
    button.addEventListener("click", () => {
      use(themes[(themes.indexOf(theme) + 1) % themes.length]);
      show();
      try {
        localStorage.setItem("nanoscope.theme", theme);
      } catch {
        // Without storage, the choice lasts until the page is closed.
      }
    });
  });
})();
