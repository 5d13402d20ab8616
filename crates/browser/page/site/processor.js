// The switch between the CPU and the GPU. Loaded by the page beside main.js.
import { el } from "../view/dom.js";
import { canAskForGpu, chooseGpu, hasGpu } from "./gpu.js";
import { whenReady } from "./loading.js";

const button = el("button", { type: "button", class: "quiet", id: "processor", hidden: true });
document.querySelector(".tools")?.prepend(button);

whenReady(({ onGpu, hasGpuProgram }) => {
  button.textContent = onGpu ? "Use the CPU" : "Use the GPU";
  button.title = `The model runs on the ${onGpu ? "GPU, by WebGPU" : "CPU"}. The page is loaded again.`;
  button.hidden = !(onGpu || (hasGpuProgram && canAskForGpu));
  button.onclick = async () => {
    if (!onGpu && !(await hasGpu())) {
      button.disabled = true;
      button.textContent = "No GPU is available";
      return;
    }
    chooseGpu(!onGpu);
    location.reload();
  };
});
