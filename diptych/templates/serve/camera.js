// A photograph from the camera of the device.

import { button, element } from "./dom.js";

export const hasCamera = () => Boolean(navigator.mediaDevices?.getUserMedia);

// Returns a photograph as a Blob; null if the dialog is closed. Throws Error with a reason if there is no camera.
export async function takePhoto() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    throw new Error(error.name === "NotAllowedError" ? "The browser does not allow the camera for this page." : "No camera was found.");
  }
  try {
    return await photoOf(stream);
  } finally {
    for (const track of stream.getTracks()) track.stop();
  }
}

function photoOf(stream) {
  return new Promise((done) => {
    const video = element("video", { srcObject: stream, autoplay: true, muted: true, playsInline: true });
    const take = () => {
      const canvas = element("canvas", { width: video.videoWidth, height: video.videoHeight });
      canvas.getContext("2d").drawImage(video, 0, 0);
      canvas.toBlob((blob) => close(blob));
    };
    const shutter = button("Take the photograph", take, { className: "primary", disabled: true });
    video.addEventListener("loadeddata", () => { shutter.disabled = false; });
    const dialog = element("dialog", { "aria-label": "Camera" }, video,
      element("div", { className: "row" }, shutter, button("Cancel", () => close(null))));
    const close = (blob) => {
      dialog.remove();
      done(blob);
    };
    dialog.addEventListener("cancel", () => close(null));
    document.body.append(dialog);
    dialog.showModal();
  });
}
