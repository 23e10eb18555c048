// Segments a photo by a click with the three Core ML packages of this bundle, and prints where each operation runs.
// Needs iOS 17.4 or macOS 14.4; the files of `mixed`, iOS 18 or macOS 15.
// On a Mac:  swiftc -parse-as-library Segment.swift && ./Segment .. photo.jpg 320 200
import CoreGraphics
import CoreML
import Foundation
import ImageIO

let side = @SIDE@            // pixels of the square that the image encoder reads
let frame = @FRAME@           // pixels of the square that points are counted in
let stretch = @STRETCHES@     // whether photos are stretched to the square
let slots = @SLOTS@           // maximum points per prompt; a box takes two
let maskSide = @LOW_RES@        // side of the low-res masks
let fill = [@FILL@].map { CGFloat($0) / 255 }  // padding colour, which is normalised to zero

/// Loads a photo and applies its EXIF orientation.
func upright(_ url: URL) -> CGImage {
    let source = CGImageSourceCreateWithURL(url as CFURL, nil)!
    let photo = CGImageSourceCreateImageAtIndex(source, 0, nil)!
    let options: [CFString: Any] = [
        kCGImageSourceCreateThumbnailFromImageAlways: true,
        kCGImageSourceCreateThumbnailWithTransform: true,
        kCGImageSourceThumbnailMaxPixelSize: max(photo.width, photo.height),
    ]
    return CGImageSourceCreateThumbnailAtIndex(source, 0, options as CFDictionary)!
}

/// The photo resized into the top left of the square, and its scale along x and y.
func square(_ photo: CGImage) -> (CVPixelBuffer, (x: Double, y: Double)) {
    var buffer: CVPixelBuffer?
    CVPixelBufferCreate(nil, side, side, kCVPixelFormatType_32BGRA, nil, &buffer)
    let pixels = buffer!
    CVPixelBufferLockBaseAddress(pixels, [])
    defer { CVPixelBufferUnlockBaseAddress(pixels, []) }
    let space = CGColorSpace(name: CGColorSpace.sRGB)!
    let context = CGContext(
        data: CVPixelBufferGetBaseAddress(pixels), width: side, height: side, bitsPerComponent: 8,
        bytesPerRow: CVPixelBufferGetBytesPerRow(pixels), space: space,
        bitmapInfo: CGBitmapInfo.byteOrder32Little.rawValue | CGImageAlphaInfo.noneSkipFirst.rawValue)!
    context.interpolationQuality = .high
    context.setFillColor(CGColor(colorSpace: space, components: fill + [1])!)
    context.fill(CGRect(x: 0, y: 0, width: side, height: side))
    let scale = Double(side) / Double(max(photo.width, photo.height))
    let w = stretch ? Double(side) : (Double(photo.width) * scale).rounded()
    let h = stretch ? Double(side) : (Double(photo.height) * scale).rounded()
    context.draw(photo, in: CGRect(x: 0, y: Double(side) - h, width: w, height: h))  // its origin is at the bottom
    let unit = Double(frame) / Double(side)
    return (pixels, (w / Double(photo.width) * unit, h / Double(photo.height) * unit))
}

func array(_ shape: [Int], _ type: MLMultiArrayDataType, _ fill: NSNumber) throws -> MLMultiArray {
    let array = try MLMultiArray(shape: shape.map { NSNumber(value: $0) }, dataType: type)
    for i in 0..<array.count { array[i] = fill }
    return array
}

/// Clicks in pixels of the photo, with label 1 object, 0 background; 2 and 3 are the corners of a box.
func prompt(_ clicks: [(x: Double, y: Double, label: Int)], scale: (x: Double, y: Double)) throws -> MLDictionaryFeatureProvider {
    let points = try array([1, slots, 2], .float32, 0)
    let labels = try array([1, slots], .int32, -10)  // -10: an empty slot
    for (i, click) in clicks.enumerated() {
        points[2 * i] = NSNumber(value: click.x * scale.x)
        points[2 * i + 1] = NSNumber(value: click.y * scale.y)
        labels[i] = NSNumber(value: click.label)
    }
    return try MLDictionaryFeatureProvider(dictionary: [
        "@prompt_encoder.in.points@": points,
        "@prompt_encoder.in.labels@": labels,
        "@prompt_encoder.in.mask_input@": try array([1, 1, maskSide, maskSide], .float32, 0),
        "@prompt_encoder.in.has_mask_input@": try array([1], .float32, 0),
    ])
}

/// Where each operation prefers to run, and its share of the cost.
func printPlan(_ url: URL, _ configuration: MLModelConfiguration) async throws {
    let plan = try await MLComputePlan.load(contentsOf: url, configuration: configuration)
    guard case let .program(program) = plan.modelStructure, let main = program.functions["main"] else { return }
    for operation in main.block.operations {
        guard let usage = plan.deviceUsage(for: operation) else { continue }  // constants have none
        let share = plan.estimatedCost(of: operation).map { String(format: "%.4f", $0.weight) } ?? "-"
        print(url.lastPathComponent, operation.operatorName, usage.preferred, share)
    }
}

@main
struct Segment {
    static func main() async throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 5, let x = Double(arguments[3]), let y = Double(arguments[4]) else {
            return print("Segment BUNDLE PHOTO X Y")
        }
        let bundle = URL(fileURLWithPath: arguments[1])
        let configuration = MLModelConfiguration()
        configuration.computeUnits = .all
        var models: [MLModel] = []
        for path in ["@encoder.path@", "@prompt_encoder.path@", "@decoder.path@"] {
            let compiled = try await MLModel.compileModel(at: bundle.appendingPathComponent(path))
            try await printPlan(compiled, configuration)
            models.append(try await MLModel.load(contentsOf: compiled, configuration: configuration))
        }

        let (pixels, scale) = square(upright(URL(fileURLWithPath: arguments[2])))
        let image = MLFeatureValue(pixelBuffer: pixels)
        let encoder = try MLDictionaryFeatureProvider(dictionary: ["@encoder.in.image@": image])
        let encoded = try await models[0].prediction(from: encoder)  // once per photo
        let embedded = try await models[1].prediction(from: prompt([(x, y, 1)], scale: scale))
        var inputs: [String: Any] = [
            "@decoder.in.sparse_embeddings@": embedded.featureValue(for: "@prompt_encoder.out.sparse_embeddings@")!,
            "@decoder.in.dense_embeddings@": embedded.featureValue(for: "@prompt_encoder.out.dense_embeddings@")!,
            "@decoder.in.token_mask@": embedded.featureValue(for: "@prompt_encoder.out.token_mask@")!,
        ]
        for name in encoded.featureNames {  // @decoder.in.image_embedding@, and finer maps if the decoder reads them
            inputs[name] = encoded.featureValue(for: name)!
        }
        let found = try await models[2].prediction(from: MLDictionaryFeatureProvider(dictionary: inputs))
        let masks = found.featureValue(for: "@decoder.out.low_res_masks@")!.multiArrayValue!  // 1 x 3 x maskSide x maskSide
        let scores = found.featureValue(for: "@decoder.out.scores@")!.multiArrayValue!
        for mask in 0..<3 {
            var area = 0
            for i in 0..<(maskSide * maskSide) where masks[mask * maskSide * maskSide + i].floatValue > 0 { area += 1 }
            print("mask \(mask): predicted IoU \(scores[mask]), \(area) of \(maskSide * maskSide) cells")
        }
    }
}
