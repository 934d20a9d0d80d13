// One launch scales one picture (NV12, P016 or planar 4:2:0) to one or several sizes, 8-bit NV12 or planar 4:2:0.
//
// Polyphase filtering as swscale does it: per tile of 32 x 8 output pixels, first the rows that the tile needs, filtered
// across into shared memory, then the columns of those. Taps and first source positions come from the host (scale.py).
// A block finds its plane in `planes` by its number; the planes of all sizes lie behind each other in one grid.
//
// The same text compiles as C++ with __device__ and __forceinline__ defined as nothing: the tests run it on a CPU.
//
// Source of the dither and of its use for samples of more than 8 bits: FFmpeg, libswscale/output.c, ff_dither_8x8_128,
// and libswscale/swscale.c, should_dither; the second chroma sample takes the entry three further on, as there.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned long long u64;

// Layout shared with PLANE_DTYPE in scale.py: 8-byte fields first, so that no compiler pads it.
struct Plane {
  u64 weights_x, starts_x, weights_y, starts_y;  // device addresses: float[width][taps_x], int[width], ...
  u64 offset;                                    // of the plane in the output, bytes
  int pitch, width, height;                      // of the output; width in samples of one component
  int taps_x, taps_y;
  int components;                                // 1: luma, 2: both chroma components
  int step, second;                              // from one sample to the next; from U to V, in samples
  int first_block, blocks_x;
};

#define TILE_WIDTH 32
#define TILE_HEIGHT 8

#ifdef __CUDACC__
#define CONSTANT_TABLE __constant__
#else
#define CONSTANT_TABLE static const
#endif
CONSTANT_TABLE u8 DITHER[8][8] = {
    {36, 68, 60, 92, 34, 66, 58, 90},   {100, 4, 124, 28, 98, 2, 122, 26}, {52, 84, 44, 76, 50, 82, 42, 74},
    {116, 20, 108, 12, 114, 18, 106, 10}, {32, 64, 56, 88, 38, 70, 62, 94},  {96, 0, 120, 24, 102, 6, 126, 30},
    {48, 80, 40, 72, 54, 86, 46, 78},   {112, 16, 104, 8, 118, 22, 110, 14}};

__device__ __forceinline__ float read_sample(const u8* row, int at, int deep) {
  return deep ? (float)((const u16*)row)[at] * (1.0f / 256.0f) : (float)row[at];
}

__device__ __forceinline__ u8 to_byte(float value, int deep, int column, int row) {
  const float rounding = deep ? (float)DITHER[row & 7][column & 7] * (1.0f / 128.0f) : 0.5f;
  const float rounded = value + rounding;
  return (u8)(rounded < 0.0f ? 0.0f : (rounded > 255.0f ? 255.0f : rounded));
}

// Where the source's samples of a plane lie: rows `pitch` bytes apart; `step` and `second` as in Plane.
struct Source {
  const u8* rows;
  long long pitch;
  int step, second, deep;
};

// Filter across all source rows that tile (bx, by) needs; thread `t` of `threads` takes every threads-th sample.
__device__ __forceinline__ void filter_rows(const Plane& plane, const Source& source, int bx, int by, int t, int threads,
                                            float* tile) {
  const int* starts_x = (const int*)plane.starts_x;
  const int* starts_y = (const int*)plane.starts_y;
  const int top = by * TILE_HEIGHT;
  const int bottom = top + TILE_HEIGHT < plane.height ? top + TILE_HEIGHT - 1 : plane.height - 1;
  const int first_row = starts_y[top];
  const int rows = starts_y[bottom] + plane.taps_y - first_row;
  for (int at = t; at < rows * TILE_WIDTH; at += threads) {
    const int x = bx * TILE_WIDTH + at % TILE_WIDTH;
    if (x >= plane.width) continue;
    const u8* row = source.rows + (long long)(first_row + at / TILE_WIDTH) * source.pitch;
    const float* weights = (const float*)plane.weights_x + (long long)x * plane.taps_x;
    const int start = starts_x[x];
    if (plane.components == 1) {
      float sum = 0.0f;
      for (int i = 0; i < plane.taps_x; i++) sum += weights[i] * read_sample(row, start + i, source.deep);
      tile[at] = sum;
    } else {
      float u = 0.0f, v = 0.0f;
      for (int i = 0; i < plane.taps_x; i++) {
        const int sample = source.step * (start + i);
        u += weights[i] * read_sample(row, sample, source.deep);
        v += weights[i] * read_sample(row, sample + source.second, source.deep);
      }
      tile[2 * at] = u;
      tile[2 * at + 1] = v;
    }
  }
}

// Filter down what filter_rows left, and write one output sample (or both chroma samples).
__device__ __forceinline__ void filter_columns(const Plane& plane, u8* output, int deep, int bx, int by, int t,
                                               const float* tile) {
  const int x = bx * TILE_WIDTH + t % TILE_WIDTH;
  const int y = by * TILE_HEIGHT + t / TILE_WIDTH;
  if (x >= plane.width || y >= plane.height) return;
  const int* starts_y = (const int*)plane.starts_y;
  const float* weights = (const float*)plane.weights_y + (long long)y * plane.taps_y;
  const int first = starts_y[y] - starts_y[by * TILE_HEIGHT];
  u8* target = output + plane.offset + (long long)y * plane.pitch + (long long)x * plane.step;
  if (plane.components == 1) {
    float sum = 0.0f;
    for (int i = 0; i < plane.taps_y; i++) sum += weights[i] * tile[(first + i) * TILE_WIDTH + t % TILE_WIDTH];
    target[0] = to_byte(sum, deep, x, y);
  } else {
    float u = 0.0f, v = 0.0f;
    for (int i = 0; i < plane.taps_y; i++) {
      const int at = 2 * ((first + i) * TILE_WIDTH + t % TILE_WIDTH);
      u += weights[i] * tile[at];
      v += weights[i] * tile[at + 1];
    }
    target[0] = to_byte(u, deep, x, y);
    target[plane.second] = to_byte(v, deep, x + 3, y);
  }
}

#ifdef __CUDACC__
extern "C" __global__ void __launch_bounds__(TILE_WIDTH* TILE_HEIGHT)
    scale_ladder(const Plane* __restrict__ planes, int plane_count, u64 luma, u64 chroma, int luma_pitch, int chroma_pitch,
                 int chroma_step, int chroma_second, int deep, u64 output) {
  extern __shared__ float tile[];
  __shared__ int chosen;
  if (threadIdx.x == 0) {
    int k = 0;
    while (k + 1 < plane_count && (int)blockIdx.x >= planes[k + 1].first_block) k++;
    chosen = k;
  }
  __syncthreads();
  const Plane plane = planes[chosen];
  const int block = (int)blockIdx.x - plane.first_block;
  const int bx = block % plane.blocks_x, by = block / plane.blocks_x;
  const bool is_luma = plane.components == 1;
  const Source source = {(const u8*)(is_luma ? luma : chroma), is_luma ? luma_pitch : chroma_pitch, chroma_step,
                         chroma_second, deep};
  filter_rows(plane, source, bx, by, threadIdx.x, blockDim.x, tile);
  __syncthreads();
  filter_columns(plane, (u8*)output, deep, bx, by, threadIdx.x, tile);
}
#endif
