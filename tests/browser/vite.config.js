// The demo's page with another version of the browser client: `vite build --mode 9` has highlight.run 9.
import { fileURLToPath } from "node:url";
import { mergeConfig } from "vite";
import page from "../../examples/demo/page/vite.config.js";

const here = fileURLToPath(new URL(".", import.meta.url));

export default ({ mode }) =>
  mergeConfig(page, {
    root: fileURLToPath(new URL("../../examples/demo/page", import.meta.url)),
    resolve: { alias: { "highlight.run": fileURLToPath(import.meta.resolve(`highlight.run-${mode}`)) } },
    build: { outDir: `${here}dist/${mode}`, emptyOutDir: true },
  });
