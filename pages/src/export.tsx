// An exported file: the view of one error, whose answers are in the file itself.

import { render } from "preact";
import { Time } from "./parts/text";
import { ErrorView } from "./views/error";
import "./style/base.css";
import "./style/parts.css";

const root = document.getElementById("app");
if (root) {
  render(
    <>
      <header class="frame">
        <span class="brand">highlight-local</span>
        <span class="faint">
          exported <Time at={Number(root.dataset.time)} />
        </span>
      </header>
      <main>
        <ErrorView id={root.dataset.error ?? ""} />
      </main>
    </>,
    root,
  );
}
