// Runs before anything is drawn, so that no page flashes in the wrong colours.
(() => {
  const themes = ["auto", "light", "dark"];
  let theme = "auto";
  try {
    theme = localStorage.getItem("nanoscope.theme") ?? "auto";
  } catch {
    // Where nothing is stored, the system's is taken.
  }
  const use = (/** @type {string} */ to) => {
    theme = themes.includes(to) ? to : "auto";
    document.documentElement.dataset.theme = theme;
  };
  use(theme);
  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    const say = () => {
      button.textContent = `◐ ${theme}`;
      button.setAttribute("aria-label", `Theme: ${theme}`);
    };
    say();
    button.addEventListener("click", () => {
      use(themes[(themes.indexOf(theme) + 1) % themes.length]);
      say();
      try {
        localStorage.setItem("nanoscope.theme", theme);
      } catch {
        // It holds until the page is closed.
      }
    });
  });
})();
