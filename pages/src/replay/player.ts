// What moves a replay: where it stands, whether it plays, and what it does at its end.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { isActivity } from "./events";
import { gapAt, gapsBetween } from "./gaps";
import type { Mark } from "./marks";
import { useRecording } from "./recording";
import type { Size, Stage } from "./stage";

const REDRAW_MS = 100;

export interface Player {
  /** Where the recorded page is put. */
  box: { current: HTMLDivElement | null };
  size: Size | undefined;
  /** Why nothing is to be seen, if so. */
  state: "loading" | "ready" | "empty" | "failed";
  error: string | undefined;
  start: number;
  end: number;
  now: number;
  playing: boolean;
  speed: number;
  skips: boolean;
  marks: Mark[];
  seek: (at: number) => void;
  toggle: () => void;
  setSpeed: (speed: number) => void;
  setSkips: (skips: boolean) => void;
}

/** Replays a session, at first standing at `at`, or where it begins. */
export function usePlayer(session: string, at: number | undefined, outside: Mark[]): Player {
  const box = useRef<HTMLDivElement>(null);
  const stage = useRef<Stage | undefined>(undefined);
  const wanted = useRef(at); // a moment that was asked for: it may be one that has not come yet
  const follows = useRef(false); // it has played to the end, and goes on when more comes
  const [size, setSize] = useState<Size>();
  const [ready, setReady] = useState(false);
  const [failure, fail] = useState<string>();
  const [now, setNow] = useState(at ?? 0);
  const [playing, setPlaying] = useState(false);
  const [speed, setSpeed] = useState(1);
  const [skips, setSkips] = useState(true);

  const { recording, loading, error } = useRecording(session, (added) => {
    if (!stage.current) return;
    stage.current.add(added);
    if (follows.current) play(now);
    else if (wanted.current !== undefined && !playing) stand(wanted.current);
  });
  const { start, end } = recording;
  const marks = useMemo(() => [...recording.marks, ...outside], [recording.marks, outside]);
  const gaps = useMemo(() => {
    const active = recording.events.filter(isActivity).map(({ timestamp }) => timestamp);
    return gapsBetween([...active, ...marks.map(({ time }) => time)], start, end);
  }, [marks, start, end]);

  const tried = (work: () => void) => {
    try {
      work();
    } catch (problem) {
      fail(`This cannot be shown: ${problem instanceof Error ? problem.message : problem}`);
    }
  };
  /** Show a moment, as far as it is recorded, whether it plays or not. */
  const stand = (moment: number) => {
    const shown = Math.max(recording.start, Math.min(moment, recording.end));
    wanted.current = moment > recording.end ? moment : undefined;
    setNow(shown);
    tried(() => stage.current?.seek(shown));
  };
  const play = (from: number) => {
    wanted.current = undefined;
    follows.current = false;
    setNow(from);
    setPlaying(true);
    tried(() => stage.current?.play(from));
  };
  const pause = () => {
    setPlaying(false);
    stage.current?.pause();
  };

  const begun = recording.events.length > 0;
  useEffect(() => {
    let mine: Stage | undefined;
    let gone = false;
    const open = ({ Stage }: typeof import("./stage")) => {
      if (gone || !box.current) return;
      tried(() => {
        mine = new Stage(box.current as HTMLDivElement, recording.events, setSize);
        mine.speed(speed);
      });
      stage.current = mine;
      stand(wanted.current ?? recording.start);
      setReady(true);
    };
    if (begun) import("./stage").then(open, (problem) => fail(problem.message));
    return () => {
      gone = true;
      stage.current = undefined;
      mine?.end();
      setReady(false);
      setPlaying(false);
      fail(undefined);
    };
  }, [recording, begun]);

  useEffect(() => {
    wanted.current = at;
    if (stage.current && at !== undefined) seek(at);
  }, [session, at]);

  useEffect(() => {
    if (!playing) return;
    let drawn = 0;
    let frame = requestAnimationFrame(function tick() {
      const shown = stage.current?.now ?? end;
      if (shown >= end) {
        follows.current = true;
        setNow(end);
        return pause();
      }
      const gap = skips ? gapAt(gaps, shown) : undefined;
      if (gap) play(gap.to);
      else if (performance.now() - drawn > REDRAW_MS) {
        drawn = performance.now();
        setNow(shown);
      }
      frame = requestAnimationFrame(tick);
    });
    return () => cancelAnimationFrame(frame);
  }, [playing, skips, gaps, end]);

  const seek = (moment: number) => {
    follows.current = false;
    stand(moment);
  };
  const problem = failure ?? (begun ? undefined : error);
  return {
    box,
    size,
    state: problem !== undefined ? "failed" : ready ? "ready" : loading || begun ? "loading" : "empty",
    error: problem,
    start,
    end,
    now: begun ? now : 0,
    playing,
    speed,
    skips,
    marks,
    seek,
    toggle: () => {
      if (!playing) return play(now >= end ? start : now);
      follows.current = false;
      pause();
    },
    setSpeed: (factor) => {
      setSpeed(factor);
      stage.current?.speed(factor);
    },
    setSkips,
  };
}
