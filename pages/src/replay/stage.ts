// rrweb's player: the recorded page in a frame, at one moment. This file is loaded when there is something to replay.

import { Replayer } from "@rrweb/replay";
import "@rrweb/replay/dist/style.css";
import { META, type Recorded, SNAPSHOT } from "./events";

// What comes from elsewhere is not loaded; where a picture was is seen all the same.
const PICTURE_MISSING =
  "img:not([src]) { outline: 1px dashed #888a; outline-offset: -1px; background: " +
  "repeating-linear-gradient(45deg, #8882 0 6px, transparent 6px 12px); }";

export interface Size {
  width: number;
  height: number;
}

export class Stage {
  private readonly replayer: Replayer;
  private readonly begin: number;
  private readonly first: number;
  private playing = false;

  /** `events` begin with the size of the window and the first snapshot. */
  constructor(box: HTMLElement, events: Recorded[], tell: (size: Size) => void) {
    this.begin = events[0]?.timestamp ?? 0;
    this.first = events.find((event) => event.type === SNAPSHOT)?.timestamp ?? this.begin;
    this.replayer = new Replayer(events as unknown as ConstructorParameters<typeof Replayer>[0], {
      root: box,
      liveMode: true, // the end is where this says it is: more may come
      showWarning: false,
      blockClass: "highlight-block",
      insertStyleRules: [PICTURE_MISSING],
      triggerFocus: false, // the focus is the reader's
      mouseTail: false,
      useVirtualDom: false, // its elements are made in this document, which has scripts, and not in the frame
    });
    this.replayer.on("resize", (size) => tell(size as Size));
    const meta = events.find((event) => event.type === META)?.data;
    if (meta) tell({ width: Number(meta.width), height: Number(meta.height) });
    // Neither the pointer nor the keyboard gets into the page that is shown.
    this.replayer.wrapper.inert = true;
    this.replayer.iframe.title = "The recorded page";
  }

  /** The moment that is shown. */
  get now(): number {
    return this.begin + this.replayer.getCurrentTime();
  }

  seek(at: number): void {
    // With what happened in that millisecond, and never without any page.
    const offset = Math.max(at, this.first) - this.begin + 1;
    if (this.playing) this.replayer.play(offset);
    else this.replayer.pause(offset);
  }

  play(at: number): void {
    this.playing = true;
    this.seek(at);
  }

  pause(): void {
    this.playing = false;
    this.replayer.pause();
  }

  speed(factor: number): void {
    this.replayer.setConfig({ speed: factor });
  }

  add(events: Recorded[]): void {
    for (const event of events) this.replayer.addEvent(event as unknown as Parameters<Replayer["addEvent"]>[0]);
  }

  end(): void {
    this.replayer.destroy();
  }
}
