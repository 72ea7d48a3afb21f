/** Version of this package: that of the contract. */
export const VERSION = "0.1.0";
