"use strict";

function showDownload(labels) {
  const changed = labels.edited.size;
  $("download").hidden = labels.given.size === 0 && changed === 0;
  $("download").textContent = changed === 0 ? "Download labels.json" : `Download labels.json (${changed} changed)`;
  $("download").classList.toggle("changed", changed > 0);
}

function describe(about) {
  const [first, end] = about.features;
  const part = end - first === about.d_sae ? "" : `Features ${first} to ${end - 1} of `;
  $("where").replaceChildren(el("b", {}, about.hook), ` of ${about.model}`);
  $("foot").replaceChildren(
    el("p", {}, `${part}${whole(about.d_sae)} features on ${whole(about.tokens)} tokens in ${whole(about.contexts)} contexts${about.special ? "" : "; special tokens are shown but not counted"}. ${about.dead === 0 ? "None is dead." : `${whole(about.dead)} never fire.`}`),
    el("p", {}, "A label marked ", el("abbr", { class: "chip" }, "auto"), " is made from a feature's strongest tokens and those that it promotes. Labels that you write stay in this browser; put the downloaded labels.json beside the SAE, or into this folder, and the next dashboard has them."));
}

async function start() {
  const data = await nanoscope.load("index");
  const labels = new Labels(data.labels, data.about);
  document.title = `${data.about.hook} · features`;
  describe(data.about);
  showDownload(labels);
  $("download").addEventListener("click", () => labels.download());
  $("list").hidden = false;
  const list = new List(data, labels);
  const view = new FeatureView(list, labels);
  let scroll = 0;

  async function go() {
    hideTip();
    const wanted = location.hash.slice(1);
    const feature = /^\d+$/.test(wanted) ? Number(wanted) : undefined;
    const at = feature === undefined ? -1 : feature - list.first;
    const there = at >= 0 && at < data.fires.length;
    if (!$("list").hidden) scroll = scrollY;
    if (!there) {
      const was = $("list").hidden;
      $("feature").hidden = true;
      $("list").hidden = false;
      $("notice").hidden = feature === undefined;
      $("notice").textContent = feature === undefined ? "" : `There is no page for feature ${wanted}.`;
      document.title = `${data.about.hook} · features`;
      if (was) {
        list.show();
        scrollTo(0, scroll);
      }
      return;
    }
    const pages = await nanoscope.load(`features-${Math.floor(at / data.per_file)}`);
    // Somebody may have gone on while it was read.
    if (location.hash.slice(1) !== wanted) return;
    $("feature").replaceChildren(...view.draw(pages[at % data.per_file]));
    $("list").hidden = true;
    $("notice").hidden = true;
    $("feature").hidden = false;
    document.title = `#${feature} · ${data.about.hook}`;
    scrollTo(0, 0);
  }

  const fail = (error) => {
    $("notice").hidden = false;
    $("notice").textContent = `Something is missing: ${error.message}`;
  };
  addEventListener("hashchange", () => go().catch(fail));
  addEventListener("scroll", moveTip, { passive: true });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") hideTip();
    if (event.target.matches("input, select, textarea, .text") || event.ctrlKey || event.metaKey || event.altKey) return;
    const link = { j: "next", k: "prev" }[event.key];
    if (link && !$("feature").hidden) $("feature").querySelector(`a[rel=${link}]`)?.click();
    if (event.key === "/" && !$("list").hidden) {
      event.preventDefault();
      $("search").focus();
    }
  });
  $("skip").addEventListener("click", (event) => {
    event.preventDefault();
    $("main").focus();
  });
  $("notice").hidden = true;
  await go();
}

start().catch((error) => {
  $("notice").hidden = false;
  $("notice").textContent = `The dashboard could not be read: ${error.message}. It needs a browser with DecompressionStream: Chrome 80, Firefox 113, Safari 16.4 or later.`;
});
