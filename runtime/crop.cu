// Crops all faces of a frame in device memory at once. It converts the colours to RGB and samples the same square as
// `warp` in image.py. Where a crop is much coarser than the frame, each crop pixel is an average of the frame pixels that
// it covers.

struct Crops {                  // gpu_perception.py's FRAME
    unsigned long long pixels;  // address of the first row
    unsigned long long chroma;  // NV12's second plane: rows of U, V pairs at half the resolution
    int height, width;          // of the frame, in pixels
    int pitch;                  // bytes from one row to the next, in both planes
    int channels;               // bytes of a pixel: 3, 4, or 1 for NV12
    int red;                    // index of red in a pixel: 0 in RGB, 2 in BGR
    int unused;                 // fills the struct up to 8 bytes
    float maps[1][6];           // one for each face (the memory goes on), from crop to frame coordinates:
                                // x = m0 u + m1 v + m2, y = m3 u + m4 v + m5, with u, v in sides of the crop and
                                // x, y in frame pixels
};

#define MOST_SAMPLES 16.0f  // the most samples along each side of a crop pixel

struct Colour { float r, g, b; };

// value limited to 0 .. limit - 1
static __device__ int clamped(int value, int limit) { return value < 0 ? 0 : value >= limit ? limit - 1 : value; }

// value limited to 0 .. 255
static __device__ float level(float value) { return value < 0 ? 0 : value > 255 ? 255 : value; }

// Converts YUV to RGB by BT.601 with limited range, as OpenCV's COLOR_YUV2RGB_NV12 does.
static __device__ Colour from_nv12(float y, float u, float v) {
    y = 1.164f * (y < 16 ? 0 : y - 16);
    u -= 128;
    v -= 128;
    return {level(y + 1.596f * v), level(y - 0.813f * v - 0.391f * u), level(y + 2.018f * u)};
}

// The colour of a frame pixel. Outside of the frame its border pixels are repeated.
static __device__ Colour pixel(const Crops* frame, int x, int y) {
    x = clamped(x, frame->width);
    y = clamped(y, frame->height);
    const unsigned char* row = (const unsigned char*)frame->pixels + (long long)y * frame->pitch;
    if (frame->chroma) {
        const unsigned char* pair = (const unsigned char*)frame->chroma + (long long)(y / 2) * frame->pitch + x / 2 * 2;
        return from_nv12(row[x], pair[0], pair[1]);
    }
    const unsigned char* at = row + x * frame->channels;
    return {(float)at[frame->red], (float)at[1], (float)at[2 - frame->red]};
}

static __device__ void add(Colour* sum, Colour colour, float share) {
    sum->r += colour.r * share;
    sum->g += colour.g * share;
    sum->b += colour.b * share;
}

// Adds the colour at (x, y), interpolated between the four nearest pixels, to a sum.
static __device__ void add_bilinear(Colour* sum, const Crops* frame, float x, float y, float share) {
    float left = floorf(x), top = floorf(y), fx = x - left, fy = y - top;
    int x0 = (int)left, y0 = (int)top;
    add(sum, pixel(frame, x0, y0), share * (1 - fx) * (1 - fy));
    add(sum, pixel(frame, x0 + 1, y0), share * fx * (1 - fy));
    add(sum, pixel(frame, x0, y0 + 1), share * (1 - fx) * fy);
    add(sum, pixel(frame, x0 + 1, y0 + 1), share * fx * fy);
}

// Computes one pixel of one crop. The grid's x and y cover a crop, its z counts the faces.
// out: [faces, height, width, 3] uint8 RGB.
extern "C" __global__ void crop(const Crops* frame, unsigned char* out, int width, int height) {
    int u = blockIdx.x * blockDim.x + threadIdx.x, v = blockIdx.y * blockDim.y + threadIdx.y, face = blockIdx.z;
    if (u >= width || v >= height) return;
    const float* m = frame->maps[face];
    float step = sqrtf(m[0] * m[0] + m[3] * m[3]) / width;  // frame pixels from one crop pixel to the next
    int samples = step > 2 ? (int)ceilf(fminf(step, MOST_SAMPLES)) : 1;
    Colour sum = {0, 0, 0};
    for (int j = 0; j < samples; j++)
        for (int i = 0; i < samples; i++) {
            float du = (u + (i + 0.5f) / samples - 0.5f) / width, dv = (v + (j + 0.5f) / samples - 0.5f) / height;
            float x = m[0] * du + m[1] * dv + m[2], y = m[3] * du + m[4] * dv + m[5];
            add_bilinear(&sum, frame, x, y, 1.0f / (samples * samples));
        }
    unsigned char* at = out + (((long long)face * height + v) * width + u) * 3;
    at[0] = (unsigned char)(sum.r + 0.5f);
    at[1] = (unsigned char)(sum.g + 0.5f);
    at[2] = (unsigned char)(sum.b + 0.5f);
}
