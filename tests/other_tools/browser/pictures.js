// Takes the pictures in docs/ again: `npm run pictures`. NANOSCOPE_BINARY names the binary, CHROMIUM the browser.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Dashboards, visit } from "./dashboard-harness.js";
import { Harness, PROMPT, again, binary, launch, link, root } from "./page-harness.js";

const docs = (name) => join(root, "docs", name);

const server = new Harness();
await server.start();
const { page } = await server.open(link({ prompt: PROMPT, max_tokens: "48" }), { viewport: { width: 1280, height: 960 }, colorScheme: "light" });
await again(page, () => page.click("#try button:text-is('birds')"));
await page.locator(".pane.steered .t", { hasText: "bird" }).first().click();
await page.mouse.move(0, 0);
await page.screenshot({ path: docs("page.png") });
await server.close();

const dashboards = new Dashboards();
dashboards.make("pages", null, ["--compact"], 2, join(root, "examples/stories.txt"));
await dashboards.start();
const { page: feature } = await dashboards.open({ viewport: { width: 1280, height: 1450 }, colorScheme: "light" });
await visit(feature, 9);
await feature.screenshot({ path: docs("dashboard.png") });
await dashboards.close();

const folder = mkdtempSync(join(tmpdir(), "nanoscope-pictures-"));
const why = join(folder, "why.html");
execFileSync(binary, ["attribute", "Max was a small dog. The dog loved to chase the", "--lens", "--html", why]);
const browser = await launch();
const causes = await browser.newPage({ viewport: { width: 1280, height: 1545 }, colorScheme: "light" });
await causes.goto(pathToFileURL(why).href);
await causes.screenshot({ path: docs("attribution.png") });
await browser.close();
rmSync(folder, { recursive: true, force: true });
