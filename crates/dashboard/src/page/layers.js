"use strict";

/// A short name for a hook point, as on the server's page: `layer 2` for `blocks.2.hook_resid_post`, `layer 2
/// mlp_out` for `blocks.2.hook_mlp_out`.
function place(hook) {
  const [, layer, rest] = /^blocks\.(\d+)\.(.+)$/.exec(hook) ?? [];
  if (layer === undefined) return hook;
  const name = rest.replace(/hook_/, "");
  return name === "resid_post" ? `layer ${layer}` : `layer ${layer} ${name}`;
}

/// The dashboards of the model's other SAEs in the folders beside this one.
class Layers {
  constructor(siblings, about) {
    this.siblings = siblings;
    this.about = about;
  }

  /// Returns the link to a page of a sibling.
  href(sibling, fragment) {
    return `../${encodeURIComponent(sibling.folder)}/index.html${fragment}`;
  }

  /// Returns the link to a feature of another SAE, or undefined if no sibling has a page for it.
  feature(fingerprint, feature) {
    const has = ({ features: [first, end], ...sibling }) => sibling.fingerprint === fingerprint && feature >= first && feature < end;
    const sibling = this.siblings.find(has);
    return sibling && this.href(sibling, `#${feature}`);
  }

  /// Shows the links in the header. They lead to the same search in the other dashboards.
  show(fragment) {
    const own = { hook: this.about.hook, features: this.about.features };
    const all = [...this.siblings, own].sort((a, b) => a.hook.localeCompare(b.hook, "en", { numeric: true }));
    const twice = (hook) => all.filter((other) => other.hook === hook).length > 1;
    $("layers").hidden = this.siblings.length === 0;
    $("layers").replaceChildren(...all.map((sibling) => {
      const name = place(sibling.hook);
      if (sibling === own) return el("b", { "aria-current": "page", title: sibling.hook }, name);
      return el("a", { href: this.href(sibling, fragment), title: sibling.hook }, twice(sibling.hook) ? `${name} (${sibling.folder})` : name);
    }));
  }
}
