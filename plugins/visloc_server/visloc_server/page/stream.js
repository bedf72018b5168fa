// A webcam or a video, sent image by image; one answer comes back for each.

import { token } from "./api.js";

const MOST_WIDTH = 640, QUALITY = 0.9; // more pixels cost time and find no more
const MOST_UNDERWAY = 2; // one is worked on while the next one travels

export class CameraStream {
  constructor(video, map, focal, hear) {
    Object.assign(this, { video, map, focal, hear, sent: new Map(), count: 0, isOpen: false });
    this.canvas = document.createElement("canvas");
  }

  async open(source) {
    // Begin with a MediaStream, or with a file.
    const video = this.video;
    if (source instanceof MediaStream) {
      this.media = source;
      video.srcObject = source;
    } else {
      video.srcObject = null;
      video.src = this.url = URL.createObjectURL(source);
    }
    await new Promise((resolve, reject) => {
      video.onloadeddata = resolve;
      video.onerror = () => reject(new Error("This browser cannot play the video: convert it to MP4 with H.264."));
    });
    const scale = Math.min(1, MOST_WIDTH / video.videoWidth);
    this.width = this.canvas.width = Math.round(scale * video.videoWidth);
    this.height = this.canvas.height = Math.round(scale * video.videoHeight);
    this.focal = this.focal ? scale * this.focal : null;
    await this.connect();
    await video.play();
    if (this.url) video.onended = () => this.end("The video has ended.");
    this.wait();
  }

  connect() {
    const address = new URL("stream", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    this.socket = new WebSocket(address);
    const { width, height, focal } = this;
    const camera = focal ? `PINHOLE ${width} ${height} ${focal} ${focal} ${width / 2} ${height / 2}` : "";
    return new Promise((resolve, reject) => {
      this.socket.onopen = () => {
        this.socket.send(JSON.stringify({ map: this.map, camera, token: token() }));
        this.isOpen = true;
        resolve();
      };
      this.socket.onmessage = (event) => this.take(JSON.parse(event.data));
      this.socket.onclose = () => {
        reject(new Error("The server refuses the stream."));
        this.end("The server has ended the stream.");
      };
    });
  }

  wait() {
    // For the next image of the video.
    if (!this.isOpen) return;
    if (this.video.requestVideoFrameCallback) {
      this.video.requestVideoFrameCallback((_, about) => this.grab(about.mediaTime));
    } else {
      requestAnimationFrame(() => this.grab(this.video.currentTime));
    }
  }

  grab(mediaTime) {
    this.wait();
    if (this.sent.size >= MOST_UNDERWAY || this.isGrabbing || mediaTime === this.lastTime) return;
    this.lastTime = mediaTime;
    this.isGrabbing = true;
    const milliseconds = this.url ? 1000 * mediaTime : performance.timeOrigin + performance.now();
    this.canvas.getContext("2d").drawImage(this.video, 0, 0, this.width, this.height);
    this.canvas.toBlob((image) => {
      this.isGrabbing = false;
      if (!this.isOpen || !image) return;
      this.socket.send(JSON.stringify({ stamp_ns: 0 }).replace("0", `${BigInt(Math.round(1000 * milliseconds)) * 1000n + 1n}`));
      this.socket.send(image);
      this.sent.set(this.count++, performance.now());
    }, "image/jpeg", QUALITY);
  }

  take(answer) {
    if (answer.detail && answer.frame === undefined) {
      this.end(answer.detail);
      return;
    }
    const sent = this.sent.get(answer.frame);
    for (const frame of this.sent.keys()) if (frame <= answer.frame) this.sent.delete(frame); // newer ones win
    this.hear.answer(answer, performance.now() - sent, this);
  }

  end(words = "") {
    if (this.isEnded) return;
    this.isEnded = true;
    this.isOpen = false;
    this.socket?.close();
    this.media?.getTracks().forEach((track) => track.stop());
    this.video.pause();
    this.video.srcObject = null;
    this.video.removeAttribute("src");
    if (this.url) URL.revokeObjectURL(this.url);
    this.hear.end(words);
  }
}
