// Lint of the web page: `make style`.
import js from "@eslint/js";
import globals from "globals";

export default [
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2024, sourceType: "module" },
    rules: {
      eqeqeq: ["error", "always", { null: "ignore" }],
      "no-implicit-globals": "error",
      "no-shadow": "error",
      "no-unused-vars": ["error", { caughtErrors: "all" }],
      "no-var": "error",
      "prefer-const": "error",
    },
  },
  { files: ["demo/page/**", "demo/alone/**"], languageOptions: { globals: globals.browser } },
  { files: ["demo/alone/worker.js", "demo/alone/runtime.js"], languageOptions: { globals: globals.worker } },
  { files: ["demo/alone/sw.js"], languageOptions: { globals: globals.serviceworker } },
  { files: ["tests/demo/**"], languageOptions: { globals: globals.node } },
];
