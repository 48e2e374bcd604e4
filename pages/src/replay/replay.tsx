// What a session's page showed, as it was recorded. It stands at the moment that is asked for until it is played.

import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Instead } from "../parts/page";
import { duration, position } from "../text/format";
import type { Mark } from "./marks";
import { type Player, usePlayer } from "./player";
import "./replay.css";
import { Lanes, Slider } from "./timeline";

const SPEEDS = [0.5, 1, 2, 4, 8];
const NONE: Mark[] = [];
const AWAY_MS = 1000; // a moment so far from what is recorded is said to be

export interface ReplayProps {
  session: string;
  /** The moment at which it stands at first, in milliseconds since 1970. */
  at?: number | undefined;
  /** What else happened, besides the clicks and pages that the recording itself tells of. */
  marks?: Mark[];
  /** It is a part of a page that is about something else. */
  small?: boolean;
  /** Told of the moment that is shown, some times a second while it plays, and of the first that can be. */
  onTime?: (at: number, start: number) => void;
  /** Gets what takes it to another moment. */
  control?: { current: ((at: number) => void) | null };
  /** More buttons. */
  children?: ComponentChildren;
}

export function Replay({ session, at, marks = NONE, small = false, onTime, control, children }: ReplayProps) {
  const player = usePlayer(session, at, marks);
  const { state, now, start, end, playing, seek, toggle } = player;
  const ready = state === "ready";
  useEffect(() => {
    if (ready) onTime?.(now, start);
  }, [ready, now, start]);
  useLayoutEffect(() => {
    if (control) control.current = seek;
  });

  return (
    <section class={`replay ${small ? "small" : ""}`} aria-label="Replay">
      <Screen player={player} />
      {state !== "empty" && (
        <div class="controls">
          <div class="transport">
            <button
              type="button"
              class="play"
              aria-label={playing ? "Pause" : "Play"}
              disabled={!ready}
              onClick={toggle}
            >
              <svg viewBox="0 0 16 16" aria-hidden="true">
                <path d={playing ? "M3 2h4v12H3zM9 2h4v12H9z" : "M3 1.5v13l11-6.5z"} />
              </svg>
            </button>
            <span class="position">
              {position(now - start)} <span class="faint">/ {position(end - start)}</span>
            </span>
          </div>
          <div class="scale">
            <Slider start={start} end={end} now={now} seek={seek} toggle={toggle} />
          </div>
          <Lanes start={start} end={end} now={now} marks={player.marks} seek={seek} />
          <div class="options">
            <label>
              <span>Speed</span>{" "}
              <select
                value={String(player.speed)}
                onChange={(event) => player.setSpeed(Number(event.currentTarget.value))}
              >
                {SPEEDS.map((speed) => (
                  <option key={speed} value={String(speed)}>
                    {speed}×
                  </option>
                ))}
              </select>
            </label>
            <label>
              <input
                type="checkbox"
                checked={player.skips}
                onChange={(event) => player.setSkips(event.currentTarget.checked)}
              />{" "}
              <span>Skip what is idle</span>
            </label>
            {children}
            <Outside at={at} player={player} />
          </div>
        </div>
      )}
    </section>
  );
}

/** The recorded page, as large as there is room for it. */
function Screen({ player }: { player: Player }) {
  const room = useRef<HTMLDivElement>(null);
  const [[width, height], setRoom] = useState<[number, number]>([0, 0]);
  useLayoutEffect(() => {
    if (!room.current) return;
    const observer = new ResizeObserver(([entry]) => {
      if (entry) setRoom([entry.contentRect.width, entry.contentRect.height]);
    });
    observer.observe(room.current);
    return () => observer.disconnect();
  }, []);
  const { state, size } = player;
  const scale = size ? Math.min(1, width / size.width, height / size.height) : 1;
  return (
    <div class="screen" ref={room}>
      <div
        ref={player.box}
        class={`sheet ${state === "ready" ? "" : "unready"}`}
        style={size && { width: size.width, height: size.height, transform: `translate(-50%, -50%) scale(${scale})` }}
      />
      {state === "loading" && <Instead answer={{ value: undefined, error: undefined, loading: true }} />}
      {state === "failed" && <Instead answer={{ value: undefined, error: player.error, loading: false }} />}
      {state === "empty" && (
        <p class="instead">There is no replay: no browser has sent what was seen on its page in this session.</p>
      )}
    </div>
  );
}

/** Says that the moment that is asked for has not been recorded. */
function Outside({ at, player: { state, start, end } }: { at: number | undefined; player: Player }) {
  if (at === undefined || state !== "ready") return null;
  if (at > end + AWAY_MS) return <p class="faint">The recording ends {duration(at - end)} before that moment.</p>;
  if (at < start - AWAY_MS) return <p class="faint">The recording begins {duration(start - at)} after that moment.</p>;
  return null;
}
