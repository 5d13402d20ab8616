// Makes dashboards of the demo, and opens them from disk.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { binary, faults, launch, root } from "./page-harness.js";

export const fixtures = join(root, "tests/fixtures/dashboard");

/** The browser and the dashboards of one file of tests. `close` ends and removes them. */
export class Dashboards {
  folder = mkdtempSync(join(tmpdir(), "nanoscope-browser-"));
  pictures = process.env.NANOSCOPE_SCREENSHOTS ?? this.folder;

  /** Starts the browser. */
  async start() {
    this.browser = await launch();
  }

  async close() {
    await this.browser?.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Makes a dashboard in the folder `name`, without other labels than the SAE's if `labels` is null. */
  make(name, labels, more, layer = 2, text = join(fixtures, "stories.jsonl")) {
    const args = ["dashboard", "--text", text, ...(labels === null ? [] : ["--labels", labels]), "--hook", `blocks.${layer}.hook_resid_post`, ...more, "--out", join(this.folder, name)];
    execFileSync(binary, args, { env: { ...process.env, XDG_CACHE_HOME: join(this.folder, "cache") }, stdio: ["ignore", "pipe", "inherit"] });
  }

  /** The address of the dashboard in the folder `name`. */
  address(name) {
    return pathToFileURL(join(this.folder, name, "index.html")).href;
  }

  /** Opens a page that records its errors, and its requests for anything but local files. */
  async open({ at = "pages", fragment = "", permissions = [], ...options } = {}) {
    const context = await this.browser.newContext({ viewport: { width: 1280, height: 900 }, acceptDownloads: true, permissions, ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(120_000);
    const wrong = faults(page, (url) => /^(file|data|blob):/.test(url));
    page.on("requestfailed", (request) => wrong.push(`failed: ${request.url()}`));
    await page.goto(this.address(at) + fragment);
    await page.waitForSelector("#notice", { state: "hidden" });
    return { page, context, wrong };
  }
}

/** Shows the page of a feature. */
export async function visit(page, feature) {
  await page.evaluate((to) => { location.hash = to; }, String(feature));
  await page.waitForSelector(`#feature h1 .hash:text-is("#${feature}")`);
}
