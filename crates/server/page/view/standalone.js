import { place } from "../state/spec.js";
import { HIDDEN, shown, visible } from "./dom.js";

/**
 * A page that shows a run without a server: one file that makes no requests. The run in it is the exported one,
 * so the file can be opened again.
 * @param {string} title
 * @param {string} recording the exported run
 * @param {string[]} lines the request in words
 * @param {boolean[][]} marks the tokens at which two texts differ
 */
export function standalonePage(title, recording, lines, marks) {
  // JSON has no `<` outside of strings, and strings may have it as an escape.
  const data = recording.replace(/</g, "\\u003c");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<title>${escape(title)}</title>
<link rel="icon" href="data:,">
<style>${STYLE}</style>
</head>
<body>
<header><h1>${escape(title)}</h1>${lines.map((line) => `<p class="hint">${escape(line)}</p>`).join("")}
<p><label>Shade <select id="shade"></select></label> <span class="hint">Point at a word for its probability; click it for its features.</span></p></header>
<main><div id="texts"></div><aside id="panel" aria-label="Features"><p class="hint">Click a word of the text.</p></aside></main>
<p class="sr" id="status" role="status"></p>
<script type="application/json" id="run">${data}</script>
<script type="application/json" id="marks">${JSON.stringify(marks.map((some) => some.map(Number)))}</script>
<script>const HIDDEN = ${HIDDEN};
${[visible, shown, place].join("\n")}
(${viewer})();</script>
</body>
</html>
`;
}

/** @param {string} text */
const escape = (text) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

/** The program of the page, which refers to nothing else of this module but the functions that are written beside it. */
function viewer() {
  const [run, marks] = ["run", "marks"].map((id) => JSON.parse(document.getElementById(id)?.textContent ?? ""));
  const [panel, texts, status] = ["panel", "texts", "status"].map((id) => /** @type {HTMLElement} */ (document.getElementById(id)));
  const select = /** @type {HTMLSelectElement} */ (document.getElementById("shade"));
  /** @type {{token: any, span: HTMLElement}[]} */
  const all = [];
  const number = (/** @type {number} */ value) => String(Number(value.toPrecision(3)));
  const chance = (/** @type {any} */ token) => (token.prompt ? "from the prompt" : token.logprob === undefined ? "generated" : `probability ${Number((Math.exp(token.logprob) * 100).toPrecision(3))} %`);
  const make = (/** @type {string} */ tag, /** @type {string} */ kind, /** @type {(Node | string)[]} */ ...children) => {
    const element = document.createElement(tag);
    element.className = kind;
    element.append(...children);
    return element;
  };
  const name = (/** @type {string} */ hook, /** @type {number} */ index) => {
    const own = run.labels?.[hook]?.[index];
    const automatic = run.automatic_names?.[hook]?.[index];
    return own ? make("span", "", visible(own)) : automatic ? make("span", "off", make("small", "auto", "auto"), ` ${visible(automatic)}`) : make("span", "off", `feature ${index}`);
  };
  const after = (/** @type {any} */ token, /** @type {string} */ hook, /** @type {number} */ index) => token.steered_features?.[hook]?.find((/** @type {number[]} */ pair) => pair[0] === index)?.[1];
  const value = (/** @type {any} */ token, /** @type {string} */ hook, /** @type {number} */ index) => after(token, hook, index) ?? token.features[hook]?.find((/** @type {number[]} */ pair) => pair[0] === index)?.[1] ?? 0;

  const open = (/** @type {any} */ token, /** @type {HTMLElement} */ span) => {
    if (span.hasAttribute("aria-current") && span === document.activeElement) return panel.querySelector("h2")?.focus();
    for (const one of all) one.span.removeAttribute("aria-current");
    span.setAttribute("aria-current", "true");
    const title = make("h2", "token", shown(token.token));
    title.tabIndex = -1;
    status.textContent = `The features of ${shown(token.token)} are shown. Press Enter again to go there.`;
    panel.replaceChildren(title, make("p", "hint", `position ${token.position} · token ${token.token_id} · ${chance(token)}`));
    if (token.alternatives) panel.append(make("p", "hint", `Likely here: ${token.alternatives.map((/** @type {[string, number]} */ [text, logprob]) => `${shown(text)} ${Number((Math.exp(logprob) * 100).toPrecision(2))} %`).join(" · ")}`));
    for (const hook of Object.keys(token.features).reverse()) {
      const list = make("ol", "");
      for (const [index, activation] of token.features[hook].slice(0, 8)) {
        const button = make("button", "", make("b", "", number(activation)), make("i", "", `#${index}`), name(hook, index));
        button.setAttribute("type", "button");
        const steered = after(token, hook, index);
        if (steered !== undefined) button.append(make("small", "off", ` → ${number(steered)} after steering`));
        button.title = "Shade the text by this feature";
        button.addEventListener("click", () => shade(hook, index));
        list.append(make("li", "", button));
      }
      panel.append(make("h3", "", place(hook)), list);
    }
  };
  const shade = (/** @type {string} */ hook, /** @type {number} */ index) => {
    const key = `${hook}:${index}`;
    if (![...select.options].some((option) => option.value === key)) select.append(new Option(`${name(hook, index).textContent} · ${place(hook)} #${index}`, key));
    select.value = key;
    paint();
  };
  const paint = () => {
    const [, hook, index] = /^(.*):(\d+)$/.exec(select.value) ?? [];
    const values = all.map(({ token }) => (hook === undefined ? 0 : Math.abs(value(token, hook, Number(index)))));
    const most = Math.max(1e-9, ...values);
    for (const [at, { span }] of all.entries()) {
      span.classList.toggle("on", values[at] > 0);
      span.style.backgroundColor = values[at] > 0 ? `color-mix(in srgb, var(--shade) ${Math.round((values[at] / most) * 70)}%, transparent)` : "";
    }
  };

  select.append(new Option("nothing", ""));
  for (const spec of run.request?.body?.nanoscope?.steer ?? []) {
    const [, hook, index] = /^([^:\s]+):(\d+):/.exec(String(spec)) ?? [];
    if (hook !== undefined) select.append(new Option(`${name(hook, Number(index)).textContent} · ${place(hook)} #${index}`, `${hook}:${index}`));
  }
  for (const [choice, text] of [...run.texts.entries()].reverse()) {
    const body = make("div", "text");
    body.dir = "ltr";
    body.setAttribute("role", "group");
    body.setAttribute("aria-label", "Text. Arrow keys move between tokens, Enter shows a token’s features.");
    /** @type {HTMLElement[]} */
    const spans = [];
    let current = 0;
    body.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const to = { ArrowLeft: current - 1, ArrowRight: current + 1, Home: 0, End: spans.length - 1 }[event.key];
      if (event.key === "Enter" || event.key === " ") spans[current].click();
      else if (to === undefined || !spans[to]) return;
      else spans[to].focus();
      event.preventDefault();
    });
    body.addEventListener("focusin", (event) => {
      spans[current].tabIndex = -1;
      current = spans.indexOf(/** @type {HTMLElement} */ (event.target));
      spans[current].tabIndex = 0;
    });
    for (const [at, token] of text.tokens.entries()) {
      // The space before a word is outside of its box.
      const [, space, word] = /^( (?=\S))?([\s\S]*)$/.exec(token.text) ?? [];
      const span = make("span", `t${token.prompt ? " p" : ""}${marks[choice]?.[at] ? " d" : ""}`, token.text === "" ? "▫" : visible(word));
      // White space has no name of its own.
      if (/^\s*$/.test(token.text)) span.setAttribute("aria-label", shown(token.text));
      span.tabIndex = at === 0 ? 0 : -1;
      span.setAttribute("role", "button");
      span.title = `${shown(token.token)} · ${chance(token)}`;
      span.addEventListener("click", () => open(token, span));
      spans.push(span);
      all.push({ token, span });
      body.append(space ?? "", span);
    }
    texts.append(make("section", "", make("h2", "", run.texts.length > 1 ? (text.steered ? "Steered" : "Unsteered") : text.steered ? "Steered text" : "Text"), body));
  }
  select.addEventListener("change", paint);
}

const STYLE = `
:root { color-scheme: light dark; --ink: light-dark(#22211f, #ebe7df); --soft: light-dark(#66625b, #a8a196); --line: light-dark(#e5e1d9, #36332e); --accent: light-dark(#a8420f, #f29b62); --shade: light-dark(rgb(232 113 36), rgb(190 88 22)); }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: light-dark(#fbfaf7, #171614); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.15rem; } h2 { font-size: 0.95rem; } h3 { font-size: 0.8rem; margin: 0.8rem 0 0.2rem; }
.sr { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.hint, .off { color: var(--soft); font-size: 0.85rem; } .hint { margin: 0.2rem 0; } .token { font-family: ui-monospace, monospace; }
.auto { border: 1px solid var(--line); border-radius: 4px; padding: 0 0.25rem; }
main { display: grid; gap: 1.5rem; } @media (min-width: 56rem) { main { grid-template-columns: minmax(0, 1fr) 22rem; } #panel { position: sticky; top: 0; align-self: start; max-height: 100dvh; overflow-y: auto; } }
#texts { display: grid; gap: 1.5rem; align-content: start; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); }
.text { font: 1.1rem/1.75 Georgia, serif; white-space: pre-wrap; } .t { cursor: pointer; border-radius: 3px; } .t.p { color: var(--soft); } .t.p.on { color: color-mix(in srgb, var(--soft) 25%, var(--ink)); } .t.d { text-decoration: underline 1.5px var(--accent); text-underline-offset: 0.28em; }
.t:hover, .t:focus-visible { outline: 1px solid var(--accent); } .t[aria-current] { outline: 2px solid var(--accent); }
ol { list-style: none; margin: 0; padding: 0; } li button { display: grid; grid-template-columns: 3rem 3rem 1fr; gap: 0.4rem; width: 100%; border: 0; background: none; color: inherit; font: inherit; font-size: 0.85rem; line-height: 1.4; text-align: left; padding: 0.15rem 0; min-height: 1.6rem; cursor: pointer; }
li b { font-weight: 500; text-align: right; } li i { color: var(--soft); font-style: normal; } li small { grid-column: 3; } li .auto { grid-column: auto; }
select { font: inherit; max-width: 100%; } h2:focus { outline: none; }
`;
