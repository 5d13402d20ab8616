// Servers and a browser for the tests of the page; the browser and its faults for those of dashboards too.
//
// NANOSCOPE_BINARY names the binary, CHROMIUM the browser, NANOSCOPE_SCREENSHOTS a folder for
// pictures.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const root = fileURLToPath(new URL("../../..", import.meta.url));
export const binary = process.env.NANOSCOPE_BINARY ?? join(root, "target/debug/nanoscope");
export const HOOK = "blocks.3.hook_resid_post";
export const DOG = `${HOOK}:1909:add:27`;
export const PROMPT = "Once upon a time, there was a";

/** The servers, the pages and the folder of one file of tests. `close` ends all of them. */
export class Harness {
  folder = mkdtempSync(join(tmpdir(), "nanoscope-page-"));
  pictures = process.env.NANOSCOPE_SCREENSHOTS ?? this.folder;
  servers = [];
  slow = [];

  /** Starts the browser, and a server of the demo. */
  async start() {
    this.address = await this.serve([]);
    this.browser = await launch();
  }

  async close() {
    await this.browser?.close();
    for (const slow of this.slow) slow.end();
    for (const server of this.servers) server.kill("SIGTERM");
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Starts a server with `args`. Resolves to its address. */
  async serve(args, environment = {}) {
    return (await this.process(args, environment)).address;
  }

  /** Starts a server with `args`. Resolves to its process and its address. */
  process(args, environment = {}) {
    const env = { ...process.env, XDG_CACHE_HOME: join(this.folder, "cache"), XDG_DATA_HOME: join(this.folder, "data"), ...environment };
    const server = spawn(binary, ["serve", "--port", "0", "--log", "warn", ...args], { env, stdio: ["ignore", "pipe", "inherit"] });
    this.servers.push(server);
    return new Promise((resolve, reject) => {
      let said = "";
      server.stdout.on("data", (data) => {
        said += data;
        const found = /http:\/\/\S+\//.exec(said);
        if (found) resolve({ server, address: found[0] });
      });
      server.on("error", reject);
      server.on("exit", (code) => reject(new Error(`the server ended with ${code}: ${said}`)));
    });
  }

  /**
   * Starts a proxy of `address` that delivers one event of a stream every 50 ms, so that a test can act while a text
   * is generated, however fast the model is. Resolves to its address; `end` closes it and all its connections, as they
   * close when a server is killed.
   */
  paced(address = this.address) {
    const proxy = http.createServer((request, response) => {
      const { method, headers } = request;
      const asked = http.request(new URL(request.url, address), { method, headers }, async (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        if (!String(answer.headers["content-type"]).startsWith("text/event-stream")) return answer.pipe(response);
        let text = "";
        try {
          for await (const part of answer.setEncoding("utf8")) {
            const events = (text + part).split(/(?<=\n\n)/);
            text = events.at(-1).endsWith("\n\n") ? "" : events.pop();
            for (const event of events) {
              if (response.destroyed) break;
              response.write(event);
              await new Promise((next) => setTimeout(next, 50));
            }
          }
          response.end(text);
        } catch {
          response.destroy();
        }
      });
      asked.on("error", () => response.destroy());
      response.on("close", () => asked.destroy());
      request.pipe(asked);
    });
    const end = () => {
      proxy.close();
      proxy.closeAllConnections();
    };
    this.slow.push({ end });
    return new Promise((resolve) => proxy.listen(0, "127.0.0.1", () => resolve({ address: `http://127.0.0.1:${proxy.address().port}/`, end })));
  }

  /** Opens a page that records its errors, and its requests to other hosts. `before` is called before it loads. */
  async open(fragment = "", { at = this.address, browser = this.browser, done = true, before = async () => {}, ...options } = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, acceptDownloads: true, reducedMotion: "reduce", ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(120_000);
    const wrong = faults(page, (url) => url.startsWith(at) || /^(data|blob):/.test(url));
    await before(page);
    await page.goto(at + fragment);
    if (done) await finished(page);
    return { page, context, wrong };
  }
}

/** Starts the browser, with more flags. */
export function launch(flags = ["--disable-gpu"]) {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", ...flags, "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"],
  });
}

/** Records the errors, warnings and dialogs of a page, and its requests for anything but what `isOurs`. */
export function faults(page, isOurs) {
  const wrong = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && wrong.push(message.text()));
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("dialog", (dialog) => {
    wrong.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("request", (request) => isOurs(request.url()) || wrong.push(`request: ${request.url()}`));
  return wrong;
}

/** The fragment of a link to the page. */
export function link(fields, steer = []) {
  const all = new URLSearchParams({ seed: "3", temperature: "0.7", max_tokens: "40", ...fields });
  for (const spec of steer) all.append("steer", spec);
  return `#${all}`;
}

export const finished = (page) => page.waitForFunction(() => document.getElementById("status").textContent.startsWith("Done"));

/** Performs `act` and waits for the run that it starts. */
export async function again(page, act) {
  await page.evaluate(() => { document.getElementById("status").textContent = ""; });
  await act();
  await finished(page);
}

/** Downloads what a click offers. */
export async function downloaded(page, selector) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click(selector)]);
  return { name: download.suggestedFilename(), text: readFileSync(await download.path(), "utf8") };
}

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** The rules that the page breaks according to axe, each with the elements that break it. */
export async function violations(page, options = {}) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate((more) => window.axe.run(document, { ...more, runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice", "experimental"] }), options);
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target, any }) => `${target} ${any[0]?.message ?? ""}`).slice(0, 5).join("; ")}`);
}

/** The number of pixels by which the page is wider than the window. */
export const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

/** The tokens that have a shade. */
export const SHADED = `.t:is(${Array.from({ length: 12 }, (_, at) => `.s${at + 1}`).join()})`;

/** The text generated in a pane. */
export const written = (page, pane = ".pane") => page.locator(`${pane} .text`).last().evaluate((text) => [...text.querySelectorAll("p")].map((line) => line.textContent).join("\n"));
