/** One namespace per system. */
export * as tvlayers from './tvlayers/index.js';
