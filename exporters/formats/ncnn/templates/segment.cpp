// Segments a photo by clicks with the ncnn files of this bundle:
//
//   c++ -O2 -std=c++11 segment.cpp -I ncnn/include/ncnn -L ncnn/lib -lncnn -fopenmp -o segment
//   ./segment BUNDLE photo.ppm mask.pgm 320,240 [400,300,0 ...]
//
// photo.ppm: binary RGB (P6), upright. A click is x,y in pixels of the photo, or x,y,0 for background.
// In an app, use Segmenter, which takes RGB bytes.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "net.h"

const int SIDE = @SIDE@, FRAME = @FRAME@, LOW_RES = @LOW_RES@, SLOTS = @SLOTS@;
const bool STRETCH = @STRETCHES@;  // photos are stretched to the square
const bool MIN_MAX = @MIN_MAX@;    // levels are normalised by the least and the largest, not by MEAN and DEVIATION
const float MEAN[3] = {@MEAN_LEVELS@}, DEVIATION[3] = {@DEVIATION_LEVELS@};  // of levels 0 to 255

struct Click {
    float x, y;  // in pixels of the photo
    int label;   // 1 object, 0 background, 2 and 3 the top-left and bottom-right corner of a box
};

class Segmenter {
public:
    explicit Segmenter(const std::string& bundle) {
        load(encoder, bundle + "/@encoder.path@");
        load(decoder, bundle + "/@decoder.path@");
    }

    // Call once per photo. rgb: width * height * 3 bytes
    void set_image(const unsigned char* rgb, int width, int height) {
        photo_w = width, photo_h = height;
        const float scale = (float)SIDE / std::max(width, height);
        w = STRETCH ? SIDE : (int)(width * scale + 0.5f);
        h = STRETCH ? SIDE : (int)(height * scale + 0.5f);
        std::vector<unsigned char> levels(rgb, rgb + (size_t)width * height * 3), resized((size_t)w * h * 3);
        while (width >= 2 * w && height >= 2 * h) halve(levels, width, height);  // so that fine patterns do not alias
        ncnn::resize_bilinear_c3(levels.data(), width, height, resized.data(), w, h);

        const int least = *std::min_element(resized.begin(), resized.end());
        const int most = *std::max_element(resized.begin(), resized.end());
        ncnn::Mat pixels(SIDE, SIDE, 3);
        pixels.fill(0.f);
        for (int c = 0; c < 3; c++) {
            const float from = MIN_MAX ? least : MEAN[c], by = MIN_MAX ? std::max(most - least, 1) : DEVIATION[c];
            for (int y = 0; y < h; y++) {
                float* row = pixels.channel(c).row(y);
                for (int x = 0; x < w; x++) row[x] = (resized[3 * ((size_t)y * w + x) + c] - from) / by;
            }
        }
        ncnn::Extractor run = encoder.create_extractor();
        run.input("@encoder.in.pixel_values@", pixels);
        for (const char* name : encoder.output_names()) run.extract(name, maps[name]);
    }

    // Logits of three masks, LOW_RES x LOW_RES each in the frame of the padded input, and their predicted IoU.
    // before: one of those masks of an earlier call, to refine it
    ncnn::Mat predict(const std::vector<Click>& clicks, ncnn::Mat& scores, const ncnn::Mat& before = ncnn::Mat()) {
        if ((int)clicks.size() > SLOTS) throw std::runtime_error("too many clicks; export with more --slots");
        ncnn::Mat points(2, SLOTS), labels(SLOTS), mask(LOW_RES, LOW_RES, 1), has_mask(1);
        points.fill(0.f);
        labels.fill(-10.f);  // an empty slot
        for (size_t i = 0; i < clicks.size(); i++) {
            points.row(i)[0] = clicks[i].x * w / photo_w * FRAME / SIDE;
            points.row(i)[1] = clicks[i].y * h / photo_h * FRAME / SIDE;
            labels[i] = (float)clicks[i].label;
        }
        mask.fill(0.f);
        if (!before.empty()) std::copy_n((const float*)before.data, LOW_RES * LOW_RES, (float*)mask.data);
        has_mask[0] = before.empty() ? 0.f : 1.f;

        ncnn::Extractor run = decoder.create_extractor();
        for (const auto& map : maps) run.input(map.first.c_str(), map.second);
        run.input("@decoder.in.points@", points);
        run.input("@decoder.in.labels@", labels);
        run.input("@decoder.in.mask_input@", mask);
        run.input("@decoder.in.has_mask_input@", has_mask);
        ncnn::Mat masks;
        if (run.extract("@decoder.out.low_res_masks@", masks) || run.extract("@decoder.out.scores@", scores))
            throw std::runtime_error("ncnn cannot run the decoder");
        return masks;
    }

    // One of the masks as logits of the photo's size; above 0 is object.
    ncnn::Mat at_photo_size(const ncnn::Mat& mask) const {
        ncnn::Mat padded, cut, full;
        ncnn::resize_bilinear(mask, padded, SIDE, SIDE);
        ncnn::copy_cut_border(padded, cut, 0, SIDE - h, 0, SIDE - w);
        ncnn::resize_bilinear(cut, full, photo_w, photo_h);
        return full;
    }

private:
    static void load(ncnn::Net& net, const std::string& param) {
        // ncnn narrows values between layers where the processor can, which is too coarse for the points
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = false;
        net.opt.use_bf16_storage = net.opt.use_vulkan_compute = false;
        const std::string bin = param.substr(0, param.size() - 6) + ".bin";
        if (net.load_param(param.c_str()) || net.load_model(bin.c_str())) throw std::runtime_error("cannot load " + param);
    }

    static void halve(std::vector<unsigned char>& rgb, int& width, int& height) {
        const int row = 3 * width;
        width /= 2, height /= 2;
        std::vector<unsigned char> out((size_t)width * height * 3);
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++)
                for (int c = 0; c < 3; c++) {
                    const unsigned char* at = &rgb[(size_t)2 * y * row + 6 * x + c];
                    out[3 * ((size_t)y * width + x) + c] = (at[0] + at[3] + at[row] + at[row + 3] + 2) / 4;
                }
        rgb.swap(out);
    }

    ncnn::Net encoder, decoder;
    std::map<std::string, ncnn::Mat> maps;  // the embedding, then finer maps if the decoder reads them
    int photo_w = 0, photo_h = 0, w = 0, h = 0;  // of the photo, and of its place in the encoder's input
};

int main(int argc, char** argv) try {
    if (argc < 5) throw std::runtime_error("usage: segment BUNDLE photo.ppm mask.pgm x,y[,label] ...");
    int width, height;
    FILE* file = std::fopen(argv[2], "rb");
    if (!file || std::fscanf(file, "P6 %d %d 255%*c", &width, &height) != 2)
        throw std::runtime_error(std::string(argv[2]) + " is not a binary PPM");
    std::vector<unsigned char> rgb((size_t)width * height * 3);
    if (std::fread(rgb.data(), 1, rgb.size(), file) != rgb.size())
        throw std::runtime_error(std::string(argv[2]) + " is cut short");
    std::fclose(file);
    std::vector<Click> clicks;
    for (int i = 4; i < argc; i++) {
        Click click = {0, 0, 1};
        if (std::sscanf(argv[i], "%f,%f,%d", &click.x, &click.y, &click.label) < 2)
            throw std::runtime_error(std::string(argv[i]) + " is not x,y or x,y,label");
        clicks.push_back(click);
    }

    Segmenter segmenter(argv[1]);
    segmenter.set_image(rgb.data(), width, height);
    ncnn::Mat scores, masks = segmenter.predict(clicks, scores);
    const int best = std::max_element((float*)scores.data, (float*)scores.data + scores.w) - (float*)scores.data;
    const ncnn::Mat logits = segmenter.at_photo_size(masks.channel(best));

    file = std::fopen(argv[3], "wb");
    if (!file) throw std::runtime_error(std::string("cannot write ") + argv[3]);
    std::fprintf(file, "P5\n%d %d\n255\n", width, height);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) std::fputc(logits.row(y)[x] > 0 ? 255 : 0, file);
    std::fclose(file);
    std::printf("%s: predicted IoU %.3f\n", argv[3], scores[best]);
    return 0;
} catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
}
