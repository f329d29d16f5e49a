import { type Client, call } from "../core/api";
import { logAddress } from "../core/base";
import type { Frame, LogLine } from "./log_lines";

export interface Listener {
  lines: (lines: LogLine[]) => void;
  said: (state: string) => void;
}

const LONGEST_WAIT = 30_000;

/**
 * Follows a service's log until `stop` is called. After a cut it connects again, with the id of
 * the last line, so that no line is lost.
 */
export class LogSocket {
  private socket: WebSocket | null = null;
  private last: string | null = null;
  private tries = 0;
  private timer = 0;
  private stopped = false;

  constructor(
    private readonly client: Client,
    private readonly sockets: string,
    private readonly service: string,
    private readonly listener: Listener,
  ) {}

  async start(): Promise<void> {
    this.listener.said("connecting");
    try {
      const answer = await this.client.send(call("post", "/auth/socket-ticket"));
      if (!this.stopped) {
        this.open(answer.value.data.ticket);
      }
    } catch (error) {
      this.listener.said(error instanceof Error ? error.message : String(error));
      this.again();
    }
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
    this.socket?.close();
  }

  private open(ticket: string): void {
    const address = logAddress(this.client.base, this.sockets, this.service);
    const query = new URLSearchParams({ ticket });
    if (this.last) {
      query.set("since", this.last);
    } else {
      query.set("lines", "200");
    }
    const socket = new WebSocket(`${address}${address.includes("?") ? "&" : "?"}${query}`);
    this.socket = socket;
    socket.onopen = () => {
      this.tries = 0;
      this.listener.said("live");
    };
    socket.onmessage = (event) => this.take(JSON.parse(String(event.data)) as Frame);
    socket.onclose = () => {
      if (!this.stopped) {
        this.listener.said("cut off, connecting again");
        this.again();
      }
    };
  }

  private take(frame: Frame): void {
    if (frame.type === "log") {
      this.last = frame.lines.at(-1)?.id.split(".")[0] ?? this.last;
      this.listener.lines(frame.lines);
    } else if (frame.type === "notice") {
      this.listener.said(frame.message);
    } else if (frame.type === "exit") {
      this.listener.said(frame.reason);
    }
  }

  private again(): void {
    if (this.stopped) {
      return;
    }
    const wait = Math.min(LONGEST_WAIT, 500 * 2 ** this.tries);
    this.tries += 1;
    this.timer = window.setTimeout(() => this.start(), wait * (0.5 + Math.random() / 2));
  }
}
