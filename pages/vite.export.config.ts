// One script and one style, which highlight-local writes into each exported file.

import { defineConfig } from "vite";

export default defineConfig({
  publicDir: false,
  build: {
    outDir: "../highlight_autoinstrument/local/static/export",
    emptyOutDir: true,
    assetsInlineLimit: Number.MAX_SAFE_INTEGER,
    modulePreload: false,
    cssCodeSplit: false,
    target: "es2022",
    rolldownOptions: {
      input: "src/export.tsx",
      output: { codeSplitting: false, entryFileNames: "export.js", assetFileNames: "export[extname]" },
    },
  },
});
