// Requests of which only the newest matters, at most one at a time.

const INTERVAL_MS = 40; // between the starts of requests while something is dragged or drawn

export class LatestRequest {
  #waiting = null;
  #running = null;
  #started = 0;
  #timer = 0;

  // `send(request, signal)` returns a promise of the answer; `answered` and `failed` are called for the newest only.
  constructor(send, { started, answered, failed }) {
    this.send = send;
    this.on = { started, answered, failed };
  }

  // Sends a request. One that is final ends the one at work; another waits for it and is replaced by newer ones.
  ask(request, isFinal = true) {
    this.#waiting = { request, isFinal };
    if (isFinal) this.#end();
    this.#next();
  }

  // Forgets all requests; their answers are dropped.
  cancel() {
    this.#waiting = null;
    this.#end();
  }

  #end() {
    clearTimeout(this.#timer);
    this.#running?.abort();
    this.#running = null;
  }

  async #next() {
    clearTimeout(this.#timer);
    if (this.#running || !this.#waiting) return;
    const pause = this.#started + INTERVAL_MS - performance.now();
    if (pause > 0 && !this.#waiting.isFinal) {
      this.#timer = setTimeout(() => this.#next(), pause);
      return;
    }
    const { request, isFinal } = this.#waiting;
    const controller = new AbortController();
    this.#waiting = null;
    this.#running = controller;
    this.#started = performance.now();
    this.on.started();
    let report;
    try {
      const answer = await this.send(request, controller.signal);
      const ms = performance.now() - this.#started;
      report = () => this.on.answered(answer, request, isFinal, ms);
    } catch (error) {
      report = () => this.on.failed(error, request);
    }
    if (this.#running !== controller) return; // a newer request took its place
    this.#running = null;
    report();
    this.#next();
  }
}
