const { report, graph, model, command } = JSON.parse($("data").textContent);

/// Rows of the table before it is expanded.
const FEW = 12;
const METRICS = { logit_diff: "logit difference", logprob: "log probability", logit: "logit", pre_activation: "pre-activation" };

const metric = METRICS[report.metric.name] ?? report.metric.name;
const isToken = report.target.text !== undefined;
const chance = ({ logprob }) => percent(Math.exp(logprob));

function question() {
  const { target, contrast, texts, position } = report;
  const value = el("b", {}, isToken ? signed(report.metric.value) : report.metric.value.toFixed(3).replace("-", "−"));
  if (!isToken) {
    $("question").append("Why is ", name(target), " at ", token(texts[position]), "?");
    $("sentence").append(`Feature ${target.feature} of ${place(target.hook)} has at position ${position} the ${metric} `, value, ".");
  } else {
    const has = (one) => [token(one.text), ` has ${chance(one)}`, el("span", { class: "off" }, ` (rank ${whole(one.rank)})`)];
    $("question").append("Why ", token(target.text), ...(contrast ? [" rather than ", token(contrast.text)] : []), "?");
    $("sentence").append(...has(target), ...(contrast ? [", ", ...has(contrast)] : []), `; the ${metric} is `, value, ".");
  }
  document.title = $("question").textContent;
  $("where").textContent = `${model} · position ${position}`;
}

/// The text, with each position tinted by the absolute attribution of the listed features there.
function text() {
  const sums = report.texts.map(() => ({ size: 0, sum: 0 }));
  for (const { position, attribution } of report.features) {
    sums[position].size += Math.abs(attribution);
    sums[position].sum += attribution;
  }
  const most = Math.max(1e-9, ...sums.map(({ size }) => size));
  $("text").append(...report.texts.map((text, at) => {
    const { size, sum } = sums[at];
    const word = el("span", { class: `t ${size === 0 ? "" : sum < 0 ? "against" : "for"}`, title: `position ${at} · ${signed(sum)} in all, ${size.toFixed(3)} without signs` }, visible(text).replace(/^ (?=\S)/, ""));
    word.style.setProperty("--a", (size / most).toFixed(3));
    // The space before a word is not tinted.
    return el("span", {}, /^ \S/.test(text) ? " " : "", word);
  }), isToken && el("span", { class: "next" }, shown(report.target.text)));
  $("tint").append(
    `Tinted by what the ${whole(report.features.length)} listed features carry at each position: `,
    el("span", { class: "swatch for" }), " mostly for ", subject(), ", ", el("span", { class: "swatch against" }), " mostly against it.");
}

const subject = () => (isToken ? token(report.target.text) : "the feature");

function causes() {
  const { features, found } = report;
  const most = Math.max(1e-9, ...features.flatMap(({ attribution, ablation }) => [Math.abs(attribution), Math.abs(ablation ?? 0)]));
  const more = [["ig", "integrated"], ["direct", "direct"]].filter(([key]) => features.some((feature) => feature[key] !== undefined));
  const differs = features.some(({ disagrees }) => disagrees);
  $("causes-hint").append(...[
    `The ${whole(features.length)} strongest of ${whole(found)} active features. Positive numbers speak for `, subject(), ". ",
    el("b", {}, "Gradient"), " is an estimate from one backward pass. ", el("b", {}, "Ablation"), ` is how much the ${metric} falls when the feature is taken away at that position.`,
    differs && [" ", el("b", { class: "warn" }, "≠"), " marks where the two have opposite signs, or one is more than twice the other; then the ablation is right."],
  ].flat().filter(Boolean));

  const head = (text, kind) => el("th", { scope: "col", role: "columnheader", class: kind }, text);
  const cell = (kind, ...children) => el("td", { role: "cell", class: kind }, ...children);
  const body = el("tbody", { role: "rowgroup" });
  const row = (feature) => {
    const { hook, position, attribution, ablation, disagrees } = feature;
    const node = graphNode(feature);
    const where = `${place(hook)} #${feature.feature}`;
    return el("tr", { role: "row" },
      cell("at", el("span", { class: "number off" }, position), " ", token(report.texts[position])),
      cell("what", name(feature), " ", node ? el("button", { type: "button", class: "link where", title: "Show in the graph", onclick: () => node.choose() }, where) : el("span", { class: "where off" }, where)),
      cell("bars", el("span", { class: "signed", "aria-hidden": "true" }, signedBar(attribution, most), ablation !== undefined && signedBar(ablation, most, "exact"))),
      cell("number gradient", signed(attribution)),
      cell("number ablation", ablation === undefined ? el("span", { class: "off" }, "–") : signed(ablation), disagrees && el("b", { class: "warn", role: "img", "aria-label": "differs", title: "The two numbers differ much" }, "≠")),
      ...more.map(([key, words]) => cell("number extra", el("span", { class: "narrow off", "aria-hidden": "true" }, `${words} `), feature[key] === undefined ? "–" : signed(feature[key]))));
  };
  const table = el("table", { role: "table", class: "causes", "aria-labelledby": "causes-title" },
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" },
      head("Token", "at"), head("Feature", "what"), head(el("span", { class: "unseen" }, "Bars"), "bars"), head("Gradient", "number"), head("Ablation", "number"),
      ...more.map(([, words]) => head(words[0].toUpperCase() + words.slice(1), "number")))),
    body);
  let all = features.length <= FEW;
  const draw = () => body.replaceChildren(...(all ? features : features.slice(0, FEW)).map(row));
  draw();
  const words = () => (all ? "Show fewer" : `Show all ${features.length}`);
  const button = features.length > FEW && el("button", { type: "button", class: "quiet", id: "expand", "aria-expanded": "false", onclick: () => {
    all = !all;
    draw();
    button.textContent = words();
    button.setAttribute("aria-expanded", String(all));
  } }, words());
  $("causes").append(...[table, button, command && steering()].filter(Boolean));
}

/// The command that takes the first feature away, with a button to copy it.
function steering() {
  const code = el("code", {}, visible(command));
  const button = el("button", { type: "button", onclick: async () => {
    try {
      await navigator.clipboard.writeText(command);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  } }, "Copy");
  return el("div", { class: "steer" }, el("p", { class: "hint" }, "To take the first feature away:"), el("div", { class: "command" }, code, button));
}

/// The node of a feature in the graph, if it has one.
function graphNode({ hook, position, feature }) {
  return picture?.find(({ node }) => node.kind === "feature" && node.hook === hook && node.position === position && node.feature === feature);
}

function card(title, hint, ...children) {
  return el("section", { class: "card", "aria-label": title }, el("h2", {}, title), el("p", { class: "hint" }, ...[hint].flat()), ...children);
}

function table(heads, rows, kind) {
  const head = ([text, kind]) => el("th", { scope: "col", class: kind }, text);
  return el("table", { class: `small ${kind}` }, el("thead", {}, el("tr", {}, ...heads.map(head))), el("tbody", {}, ...rows.map((cells) => el("tr", {}, ...cells))));
}

const th = (text, title) => el("th", { scope: "row", title }, text);
const td = (...children) => el("td", {}, ...children);
const number = (...children) => el("td", { class: "number" }, ...children);

function more() {
  const { hooks, alternatives, lens = [], components, faithfulness, target, contrast } = report;
  $("more").append(card("Not explained", "The share of the error terms, which the SAEs do not reconstruct, in what is attributed.",
    table([["SAE"], ["Active", "number"], ["Features", "number"], ["Bias", "number"], ["Error", "number"], ["Share", "number"]],
      hooks.map(({ hook, active, features, bias: offset, error, error_share: share }) => [th(place(hook), hook), number(whole(active)), number(signed(features)), number(signed(offset)), number(signed(error)), el("td", { class: "number share" }, bar(share), ` ${Math.round(share * 100)} %`)]), "shares")));
  if (alternatives.length > 0) {
    const most = Math.exp(alternatives[0].logprob);
    const mark = ({ id }) => (id === target.id ? "target" : id === contrast?.id ? "contrast" : "");
    $("more").append(card("Likely next", "The likeliest tokens after the text.", el("ol", { class: "likely" }, ...alternatives.map((one) => el("li", { class: mark(one) },
      bar(Math.exp(one.logprob) / most), token(one.text), el("span", { class: "number" }, el("span", { class: "off" }, mark(one)), ` ${chance(one)}`))))));
  }
  if (lens.length > 0) {
    const top = (some) => some.flatMap(([, text, p], at) => [at > 0 ? ", " : "", el("span", { class: "one" }, token(text), ` ${percent(Number(p.toPrecision(2)))}`)]);
    $("more").append(card("Logit lens", "The prediction if the model ended there.",
      table([["After"], ...(isToken ? [[token(target.text), "number"]] : []), ["Likeliest"]], lens.map((one) => [th(place(one.hook), one.hook), ...(isToken ? [number(percent(one.target))] : []), td(...top(one.top))]), "lens")));
  }
  if (components) {
    $("more").append(card("Direct effects", "What each part of the model writes to the logits, before the softcap.",
      table([["Part"], [token(target.text), "number"], ...(contrast ? [[token(contrast.text), "number"]] : [])], components.map((part) => [th(part.name), number(signed(part.target)), ...(contrast ? [number(part.contrast === null ? "–" : signed(part.contrast))] : [])]), "")));
  }
  if (faithfulness) {
    $("more").append(card("Faithfulness", `The ${metric} with the strongest features alone; without any it is ${signed(faithfulness.without_features)}.`,
      table([["Features", "number"], [metric[0].toUpperCase() + metric.slice(1), "number"], ["Share", "number"]], faithfulness.kept.map(({ features, value, share }) => [number(whole(features)), number(signed(value)), number(share === null ? "–" : `${Math.round(share * 100)} %`.replace("-", "−"))]), "")));
  }
}

const picture = graph ? drawGraph(graph) : null;
question();
text();
causes();
more();
$("foot").append(el("p", {}, "Made by nanoscope attribute. Attribution is an estimate of first order; ablations are exact for one feature at a time."));
