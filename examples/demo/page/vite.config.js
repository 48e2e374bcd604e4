import { defineConfig } from "vite";

export default defineConfig({
  build: {
    chunkSizeWarningLimit: 2000, // kB; the browser client is one large file
    target: "es2022", // in which a module may await
  },
});
