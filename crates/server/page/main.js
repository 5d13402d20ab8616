import { Refused, json } from "./client/api.js";
import { Page } from "./page.js";
import { askForKey, onKey } from "./panels/key-form.js";
import { complain } from "./panels/messages.js";
import { $ } from "./view/dom.js";
import { show, wireSkip } from "./view/front.js";
/** @import {About} from "./types.d.ts" */

/** @type {Page | null} */
let page = null;

/** The identity of a server, without which the page cannot go on. @param {About} about */
const identity = ({ name, version, saes }) => JSON.stringify([name, version, saes.map(({ hook, source, d_sae }) => [hook, source, d_sae])]);

/** Starts the page, or continues it after a key was asked for or the server was lost. */
async function boot() {
  try {
    const about = /** @type {About} */ (await json("/api/about"));
    if (page && identity(page.about) !== identity(about)) {
      // Another server answers at this address.
      location.reload();
      return;
    }
    show("main");
    if (page) {
      page.go();
    } else {
      page = new Page(about);
      page.start();
    }
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return askForKey();
    const message = error instanceof Error ? error.message : String(error);
    show(page ? "main" : "lost");
    if (page) complain(message, true);
    else $("lost-why").textContent = message;
  }
}

onKey(boot);
wireSkip();
for (const id of ["reconnect", "lost-again"]) $(id).addEventListener("click", boot);
boot();
