import { Converter, OptionDefaults } from "typedoc";

/**
 * protoc-gen-es writes no comment on the cases of a oneof and the members of a service. What the contract has a comment for has one, by
 * `buf lint`.
 *
 * @param {import("typedoc").Application} app
 */
function trustGenerated(app) {
  app.converter.on(Converter.EVENT_RESOLVE_END, ({ project }) => {
    const generated = Object.values(project.reflections).filter((reflection) =>
      !reflection.isReference() && !reflection.hasComment() && /** @type {import("typedoc").DeclarationReflection} */ (reflection).sources?.some(({ fullFileName }) => fullFileName.includes("/src/gen/")),
    );
    app.options.setValue("intentionallyNotDocumented", [...new Set(generated.map((reflection) => reflection.getFullName()))]);
  });
}

/** @type {Partial<import("typedoc").TypeDocOptions>} */
export default {
  // A remote to link to is nothing that every clone has.
  disableGit: true,
  sourceLinkTemplate: "https://tollgate.dev/{path}#L{line}",
  name: "@tollgate/client",
  entryPoints: ["src/index.ts", "src/web.ts", "src/opentelemetry.ts"],
  out: "build/docs",
  tsconfig: "tsconfig.json",
  excludePrivate: true,
  excludeExternals: true,
  // Generated code tells of each member which field it is; the comment above it is the contract's.
  blockTags: [...OptionDefaults.blockTags, "@generated"],
  excludeTags: ["@generated"],
  validation: { notDocumented: true, notExported: false, invalidLink: true },
  requiredToBeDocumented: [
    "Enum",
    "EnumMember",
    "Variable",
    "Function",
    "Class",
    "Interface",
    "Constructor",
    "Property",
    "Method",
    "Accessor",
    "TypeAlias",
  ],
  plugin: [trustGenerated],
  treatWarningsAsErrors: true,
};
