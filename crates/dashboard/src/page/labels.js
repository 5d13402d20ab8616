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
      for (const [feature, label] of Object.entries(kept)) {
        if (this.fits(Number(feature)) && typeof label === "string") this.edited.set(Number(feature), label);
      }
    } catch {
      this.kept = false;
    }
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
    try {
      localStorage.setItem(this.key, JSON.stringify(Object.fromEntries(this.edited)));
    } catch {
      this.kept = false;
    }
  }

  /// All labels, as `labels.json` has them.
  file() {
    const features = new Set([...this.given.keys(), ...this.edited.keys()]);
    const labels = {};
    for (const feature of [...features].sort((a, b) => a - b)) {
      const label = this.get(feature);
      if (label !== undefined) labels[feature] = label;
    }
    return `${JSON.stringify(labels, null, 2)}\n`;
  }

  download() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([this.file()], { type: "application/json" }));
    link.download = "labels.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }
}
