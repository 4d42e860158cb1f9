/** NumPy's .npy files (format versions 1 to 3), in which research data often come. */
import { readFile } from 'node:fs/promises';
import { FileError } from './file-error.js';

export interface NpyArray {
  shape: number[];
  /** Row-major, whatever order the file has. */
  data: Float64Array;
}

/** How numbers of a type are read, and their size in bytes. All of them are exact in float64. */
const types: Record<string, [bytes: number, read: (view: DataView, at: number) => number]> = {
  '<f8': [8, (v, i) => v.getFloat64(i, true)],
  '<f4': [4, (v, i) => v.getFloat32(i, true)],
  '<i4': [4, (v, i) => v.getInt32(i, true)],
  '<i2': [2, (v, i) => v.getInt16(i, true)],
  '<u2': [2, (v, i) => v.getUint16(i, true)],
  '|i1': [1, (v, i) => v.getInt8(i)],
  '|u1': [1, (v, i) => v.getUint8(i)],
  '|b1': [1, (v, i) => v.getUint8(i)],
};

/**
 * Reads an array of real numbers.
 * @throws FileError when the file cannot be read, is no .npy file, is cut short or holds another type
 */
export async function readNpy(path: string): Promise<NpyArray> {
  const bytes = await readFile(path).catch((error: unknown) => {
    throw FileError.fromSystem(path, 'read', error);
  });
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 12 || bytes.toString('latin1', 0, 6) !== '\x93NUMPY')
    throw new FileError(path, `Cannot read ${path}: it is not a .npy file`);
  const wide = view.getUint8(6) > 1;
  const start = wide ? 12 : 10;
  const begin = start + (wide ? view.getUint32(8, true) : view.getUint16(8, true));
  const header = bytes.toString('latin1', start, begin);
  const type = /'descr':\s*'([^']+)'/.exec(header)?.[1];
  const fortran = /'fortran_order':\s*(True|False)/.exec(header)?.[1];
  const extents = /'shape':\s*\(([^)]*)\)/.exec(header)?.[1];
  if (type === undefined || fortran === undefined || extents === undefined) {
    throw new FileError(path, `Cannot read ${path}: its header is damaged`);
  }
  const reader = types[type];
  if (reader === undefined) {
    throw new FileError(path, `Cannot read ${path}: expected one of the types ${Object.keys(types).join(', ')} but received ${type}`);
  }
  const shape = extents
    .split(',')
    .filter((text) => text.trim() !== '')
    .map(Number);
  const size = shape.reduce((a, b) => a * b, 1);
  const [width, read] = reader;
  if (!shape.every((n) => Number.isSafeInteger(n) && n >= 0) || bytes.length - begin < size * width) {
    throw new FileError(path, `Cannot read ${path}: expected ${size * width} bytes of data but found ${bytes.length - begin}`);
  }
  const data = new Float64Array(size);
  const strides = shape.map((_, i) => (fortran === 'True' ? shape.slice(0, i) : shape.slice(i + 1)).reduce((a, b) => a * b, 1));
  const index = new Array<number>(shape.length).fill(0);
  for (let i = 0; i < size; i++) {
    data[i] = read(view, begin + width * index.reduce((sum, k, axis) => sum + k * strides[axis]!, 0));
    for (let axis = shape.length - 1; axis >= 0 && ++index[axis]! === shape[axis]!; axis--) index[axis] = 0;
  }
  return { shape, data };
}
