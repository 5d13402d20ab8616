"use strict";

/// The labels that there are, and what was changed of them in this browser.
class Labels {
  constructor(given, about) {
    this.given = new Map(Object.entries(given).map(([feature, label]) => [Number(feature), label]));
    this.edited = new Map();
    this.d_sae = about.d_sae;
    this.key = `nanoscope labels ${about.fingerprint} ${about.hook}`;
    this.kept = true;
    try {
      const kept = JSON.parse(localStorage.getItem(this.key) ?? "{}");
      for (const [feature, edit] of Object.entries(kept)) this.take(Number(feature), edit);
    } catch {
      this.kept = false;
    }
  }

  /// An edit is kept with the label that it was made against. One that is given by now is none any
  /// more, and one against another label than the present one gives way to that.
  take(feature, edit) {
    if (!this.fits(feature) || !Array.isArray(edit) || edit.length !== 2) return;
    const [label, against] = edit;
    const given = this.given.get(feature) ?? "";
    if (typeof label === "string" && label !== given && against === given) this.edited.set(feature, label);
  }

  fits(feature) {
    return Number.isInteger(feature) && feature >= 0 && feature < this.d_sae;
  }

  /// A person's label; undefined if there is none.
  get(feature) {
    return (this.edited.has(feature) ? this.edited.get(feature) : this.given.get(feature)) || undefined;
  }

  set(feature, text) {
    const label = text.trim();
    if (label === (this.given.get(feature) ?? "")) this.edited.delete(feature);
    else this.edited.set(feature, label);
    const kept = [...this.edited].map(([edited, to]) => [edited, [to, this.given.get(edited) ?? ""]]);
    try {
      localStorage.setItem(this.key, JSON.stringify(Object.fromEntries(kept)));
    } catch {
      this.kept = false;
    }
  }

  /// All labels, as `labels.json` has them. One that was taken away is an empty one: left out, the
  /// label that stands elsewhere would show again.
  file() {
    const all = new Map([...this.given, ...this.edited]);
    const sorted = [...all].sort(([a], [b]) => a - b);
    return `${JSON.stringify(Object.fromEntries(sorted), null, 2)}\n`;
  }

  download() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([this.file()], { type: "application/json" }));
    link.download = "labels.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }
}
