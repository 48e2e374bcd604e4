import { defineConfig } from "vite";

export default defineConfig({
  build: {
    outDir: "../highlight_autoinstrument/local/static",
    emptyOutDir: true,
    assetsInlineLimit: 0, // the Content-Security-Policy allows no data: scripts or styles
    modulePreload: { polyfill: false },
    target: "es2022",
    license: { fileName: "licenses.md" }, // of what is built in
  },
});
