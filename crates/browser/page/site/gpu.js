// The choice between the program for CPUs and the one for GPUs.
const KEY = "nanoscope.gpu";

/** Returns whether the user has chosen the GPU. */
export function isGpuChosen() {
  try {
    return localStorage.getItem(KEY) !== null;
  } catch {
    // A page may have no storage.
    return false;
  }
}

/** Keeps the choice for the next start of the model. @param {boolean} isChosen */
export function chooseGpu(isChosen) {
  try {
    if (isChosen) localStorage.setItem(KEY, "1");
    else localStorage.removeItem(KEY);
  } catch {
    // Without storage there is nothing to choose.
  }
}

const webgpu = /** @type {{requestAdapter(): Promise<unknown>} | undefined} */ (/** @type {any} */ (navigator).gpu);

/** True if the browser has WebGPU, and can suspend a program while a GPU is read. */
export const canAskForGpu = webgpu !== undefined && "Suspending" in WebAssembly;

/** Returns whether the browser gives access to a GPU. Asking may start one. */
export async function hasGpu() {
  return Boolean(await webgpu?.requestAdapter().catch(() => null));
}
