"use strict";

/// The labels of the dashboard, with the edits made in this browser.
class Labels {
  constructor(given, about) {
    this.given = new Map(Object.entries(given).map(([feature, label]) => [Number(feature), label]));
    this.edited = new Map();
    this.d_sae = about.d_sae;
    this.key = `nanoscope labels ${about.fingerprint} ${about.hook}`;
    this.stored = true;
    try {
      const stored = JSON.parse(localStorage.getItem(this.key) ?? "{}");
      for (const [feature, edit] of Object.entries(stored)) this.restore(Number(feature), edit);
    } catch {
      this.stored = false;
    }
  }

  /// Restores an edit from local storage, where it is stored with the label that it replaced. Ignores an
  /// edit that the dashboard contains by now, and one that replaced a different label.
  restore(feature, edit) {
    if (!this.fits(feature) || !Array.isArray(edit) || edit.length !== 2) return;
    const [label, replaced] = edit;
    const given = this.given.get(feature) ?? "";
    if (typeof label === "string" && label !== given && replaced === given) this.edited.set(feature, label);
  }

  fits(feature) {
    return Number.isInteger(feature) && feature >= 0 && feature < this.d_sae;
  }

  /// Returns the label of `feature`, or undefined if it has none.
  get(feature) {
    return (this.edited.has(feature) ? this.edited.get(feature) : this.given.get(feature)) || undefined;
  }

  /// Labels `feature` and stores the edit in this browser.
  set(feature, text) {
    const label = text.trim();
    if (label === (this.given.get(feature) ?? "")) this.edited.delete(feature);
    else this.edited.set(feature, label);
    const stored = [...this.edited].map(([edited, to]) => [edited, [to, this.given.get(edited) ?? ""]]);
    try {
      localStorage.setItem(this.key, JSON.stringify(Object.fromEntries(stored)));
    } catch {
      this.stored = false;
    }
  }

  /// Returns the text of a `labels.json` with all labels. A removed label is written as an empty one; if it
  /// were left out, a label from another source would appear again.
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
