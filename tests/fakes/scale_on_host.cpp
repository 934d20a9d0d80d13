// The production kernel's text run on a CPU: one loop for the blocks, one for the threads of each, a pass at a time.
#define __device__
#define __forceinline__ inline
#include "../../encoders/backends/scale_nv12.cu"
#include <vector>

extern "C" void scale_ladder_on_host(const Plane* planes, int plane_count, u64 luma, u64 chroma, int luma_pitch,
                                     int chroma_pitch, int chroma_step, int chroma_second, int deep, u64 output,
                                     int blocks, int shared_bytes) {
  const int threads = TILE_WIDTH * TILE_HEIGHT;
  std::vector<float> tile(shared_bytes / sizeof(float));
  for (int at = 0, k = 0; at < blocks; at++) {
    while (k + 1 < plane_count && at >= planes[k + 1].first_block) k++;
    const Plane& plane = planes[k];
    const int bx = (at - plane.first_block) % plane.blocks_x, by = (at - plane.first_block) / plane.blocks_x;
    const bool is_luma = plane.components == 1;
    const Source source = {(const u8*)(is_luma ? luma : chroma), is_luma ? luma_pitch : chroma_pitch, chroma_step,
                           chroma_second, deep};
    for (int t = 0; t < threads; t++) filter_rows(plane, source, bx, by, t, threads, tile.data());
    for (int t = 0; t < threads; t++) filter_columns(plane, (u8*)output, deep, bx, by, t, tile.data());
  }
}
