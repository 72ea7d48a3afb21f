const NANO = 9;
const SCALE = 10n ** BigInt(NANO);

/** Dollars as written, `"5"`, `"0.25"`, to the contract's nano-dollars. Text, so that no cent is lost in a floating-point number. */
export function usd(dollars: string): bigint {
  const found = /^(-?)(\d+)(?:\.(\d{1,9}))?$/.exec(dollars);
  if (!found) throw new TypeError(`usd: ${JSON.stringify(dollars)} is not dollars with at most nine decimals, such as "0.25"`);
  const [, sign, whole = "0", fraction = ""] = found;
  const nano = BigInt(whole) * SCALE + BigInt(fraction.padEnd(NANO, "0"));
  return sign === "-" ? -nano : nano;
}

/** Nano-dollars for people: `$0.0000027`, `-$12.50`. Every digit that counts is there, and at least two decimals. */
export function formatUsd(nanoUsd: bigint): string {
  const positive = nanoUsd < 0n ? -nanoUsd : nanoUsd;
  const fraction = (positive % SCALE).toString().padStart(NANO, "0").replace(/0{1,7}$/, "");
  return `${nanoUsd < 0n ? "-" : ""}$${String(positive / SCALE)}.${fraction}`;
}
