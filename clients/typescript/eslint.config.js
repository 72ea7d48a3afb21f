import eslint from "@eslint/js";
import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";

export default defineConfig(
  { ignores: ["dist", "build", "src/gen"] },
  eslint.configs.recommended,
  tseslint.configs.strictTypeChecked,
  tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: {
      parserOptions: { project: ["tsconfig.json", "tsconfig.programs.json"], tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      eqeqeq: "error",
      // `test(...)` of node:test returns a promise that the runner awaits.
      "@typescript-eslint/no-floating-promises": [
        "error",
        { allowForKnownSafeCalls: [{ from: "package", name: ["describe", "test"], package: "node:test" }] },
      ],
    },
  },
  { files: ["*.config.js"], extends: [tseslint.configs.disableTypeChecked] },
);
