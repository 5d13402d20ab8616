"use strict";

/// Updates the button that downloads the labels.
function showDownload(labels) {
  const changed = labels.edited.size;
  $("download").hidden = labels.given.size === 0 && changed === 0;
  $("download").textContent = changed === 0 ? "Download labels.json" : `Download labels.json (${changed} changed)`;
  $("download").classList.toggle("changed", changed > 0);
}

/// Fills the header and the footer.
function describe(about) {
  const [first, end] = about.features;
  const part = end - first === about.d_sae ? "" : `Features ${first} to ${end - 1} of `;
  $("where").replaceChildren(el("b", {}, about.hook), ` of ${about.model}`);
  $("foot").replaceChildren(
    el("p", {}, `${part}${whole(about.d_sae)} features on ${whole(about.tokens)} tokens in ${whole(about.contexts)} contexts${about.special ? "" : "; special tokens are shown but not counted"}. ${about.dead === 0 ? "None is dead." : `${whole(about.dead)} ${about.dead === 1 ? "is" : "are"} dead.`}`),
    el("p", {}, "A label marked ", el("abbr", { class: "chip" }, "auto"), " is generated from the tokens that a feature fires on most strongly and those that it promotes. Labels that you write are stored in this browser; put the downloaded labels.json next to the SAE or into this folder, and the next dashboard includes them."),
    el("p", {}, shortcutSwitch()));
}

/// The fragment of the address, which is the state of the page: a feature, a search, or neither.
const fragmentHere = () => location.hash || "#";

/// Loads the index, then shows the page that the address names.
async function start() {
  const [data, siblings] = await Promise.all([nanoscope.load("index"), nanoscope.load("siblings").catch(() => [])]);
  const labels = new Labels(data.labels, data.about);
  const layers = new Layers(siblings, data.about);
  document.title = `${data.about.hook} · features`;
  describe(data.about);
  showDownload(labels);
  $("download").addEventListener("click", () => labels.download());
  $("list").hidden = false;
  const list = new List(data, labels, () => {
    layers.show(list.fragment());
    $("notice").hidden = true;
    if (!$("list").hidden && fragmentHere() !== list.fragment()) history.replaceState(null, "", list.fragment());
  });
  const view = new FeatureView(list, labels, layers);
  layers.show("#");
  // The place in the list from which a feature was opened.
  let [scroll, left] = [0, -1];

  /// Shows the page of the address. `moved` is false for the one that the address had at first.
  async function go(moved) {
    hideTip();
    const wanted = location.hash.slice(1);
    const feature = /^\d+$/.test(wanted) ? Number(wanted) : undefined;
    const at = feature === undefined ? -1 : feature - list.first;
    const there = at >= 0 && at < data.fires.length;
    if (!$("list").hidden) scroll = scrollY;
    if (!there) {
      const query = new URLSearchParams(wanted).get("q") ?? "";
      const was = $("list").hidden;
      $("feature").hidden = true;
      $("list").hidden = false;
      $("notice").hidden = feature === undefined;
      $("notice").textContent = feature === undefined ? "" : `Feature ${wanted} has no page in this dashboard, which has features ${list.first} to ${list.first + data.fires.length - 1}.`;
      if (feature === undefined && query !== list.query.trim()) {
        $("search").value = query;
        list.ask(query);
      }
      document.title = `${data.about.hook} · features`;
      if (was) {
        list.show();
        if (moved) (document.querySelector(`#rows a[href="#${left}"]`) ?? $("main")).focus({ preventScroll: true });
        scrollTo(0, scroll);
      }
      return;
    }
    const [pages, names] = await Promise.all([nanoscope.load(`features-${Math.floor(at / data.per_file)}`), nanoscope.load("others")]);
    // The user may have moved on while the data was loading.
    if (location.hash.slice(1) !== wanted) return;
    $("feature").replaceChildren(...view.draw(pages[at % data.per_file], names));
    $("list").hidden = true;
    $("notice").hidden = true;
    $("feature").hidden = false;
    document.title = `#${feature} · ${data.about.hook}`;
    left = feature;
    // The row that was followed is hidden now.
    if (moved) $("feature").querySelector("h1").focus({ preventScroll: true });
    scrollTo(0, 0);
  }

  const fail = (error) => {
    $("notice").hidden = false;
    $("notice").textContent = `A file could not be loaded: ${error.message}`;
  };
  addEventListener("hashchange", () => go(true).catch(fail));
  addEventListener("scroll", moveTip, { passive: true });
  wireKeys();
  $("skip").addEventListener("click", (event) => {
    event.preventDefault();
    $("main").focus();
  });
  $("notice").hidden = true;
  await go(false);
}

start().catch((error) => {
  $("notice").hidden = false;
  $("notice").textContent = `The dashboard could not be loaded: ${error.message}. It needs a browser with DecompressionStream: Chrome 80, Firefox 113, Safari 16.4 or later.`;
});
