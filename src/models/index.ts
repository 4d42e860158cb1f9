/** One namespace per system. */
export * as tdv from './tdv/index.js';
export * as tvflow from './tvflow/index.js';
export * as tvlayers from './tvlayers/index.js';
