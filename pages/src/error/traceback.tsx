// An error's calls, the innermost first: the application's stand out, those of libraries are folded.

import { useMemo } from "preact/hooks";
import type { ErrorDetail, Frame } from "../data/types";
import { Copy } from "../parts/text";
import { counted, shortFile } from "../text/format";
import { type Context, type Contexts, contextsOf, placeOf } from "./context";
import "./traceback.css";

export function Traceback({ error }: { error: ErrorDetail }) {
  const runs = runsOf(error.frames);
  const innermost = error.frames.findIndex(({ own }) => own);
  const contexts = useMemo(() => contextsOf(error), [error]);
  const shown = { contexts, opened: Math.max(0, innermost) };
  if (!error.stack && runs.length === 0) return <p class="faint">It came without a stack.</p>;
  return (
    <div class="traceback">
      {runs.map((run) =>
        run.own ? (
          <Frames key={run.first} frames={run.frames} first={run.first} {...shown} />
        ) : (
          <details key={run.first} open={innermost < 0}>
            <summary>{counted(run.frames.length, "call")} in libraries</summary>
            <Frames frames={run.frames} first={run.first} {...shown} />
          </details>
        ),
      )}
      {error.stack && (
        <details class="stack" open={error.frames.length === 0}>
          <summary>The whole stack as it came</summary>
          <Copy text={error.stack} />
          {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by the keyboard */}
          <pre tabIndex={0}>{error.stack}</pre>
        </details>
      )}
    </div>
  );
}

interface FramesProps {
  frames: Frame[];
  /** The place of the first one among all. */
  first: number;
  contexts: Contexts;
  /** The place of the one that is shown with the lines around it at once. */
  opened: number;
}

function Frames({ frames, first, contexts, opened }: FramesProps) {
  return (
    <ol class="frames" start={first + 1}>
      {frames.map((frame, index) => {
        const context = contexts.get(placeOf(frame.file, frame.line));
        return (
          <li key={first + index} class={frame.own ? "own" : ""}>
            {context ? (
              <details open={first + index === opened}>
                <summary>
                  <Where frame={frame} />
                  {frame.source && <pre class="line">{frame.source}</pre>}
                </summary>
                <Lines context={context} line={frame.line} />
              </details>
            ) : (
              <>
                <Where frame={frame} />
                {frame.source && <pre>{frame.source}</pre>}
              </>
            )}
          </li>
        );
      })}
    </ol>
  );
}

function Where({ frame }: { frame: Frame }) {
  return (
    <code class="where" title={`${frame.file}:${frame.line}`}>
      {frame.own ? frame.file : shortFile(frame.file)}:{frame.line}
      {frame.function && (
        <>
          <span class="faint"> in </span>
          <strong>{frame.function}</strong>
        </>
      )}
    </code>
  );
}

function Lines({ context: { first, lines }, line }: { context: Context; line: number }) {
  return (
    <pre class="lines">
      {lines.map((text, index) => (
        <div key={first + index} class={first + index === line ? "here" : ""}>
          <span class="number">{first + index}</span> {text}
        </div>
      ))}
    </pre>
  );
}

interface Run {
  own: boolean;
  /** The place of its first frame among all of them. */
  first: number;
  frames: Frame[];
}

function runsOf(frames: Frame[]): Run[] {
  const runs: Run[] = [];
  frames.forEach((frame, index) => {
    const last = runs.at(-1);
    if (last?.own === frame.own) last.frames.push(frame);
    else runs.push({ own: frame.own, first: index, frames: [frame] });
  });
  return runs;
}
