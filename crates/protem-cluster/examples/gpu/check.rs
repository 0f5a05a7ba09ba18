//! Fits on the device beside fits on the processor: the same bits, or by how many they differ.

use crate::points::{kinds, mixture, spread};
use crate::{Outcome, Request};
use cudarc::driver::{CudaContext, DevicePtr};
use protem_cluster::{Device, DevicePoints, Fit, Init, KMeans, KMeansBuilder, Matrix, Warning};
use serde_json::{Value, json};

/// Points, clusters, columns: odd ones, and as many columns as do not stay in shared memory.
const SHAPES: [(usize, usize, usize); 4] = [
    (1000, 257, 7),
    (3000, 999, 129),
    (1500, 130, 1),
    (600, 130, 2048),
];
/// As many points and clusters as fill a device, with whole chunks of columns in its pass and with
/// part of one: stages of its ring are used again and again.
const LARGE: [(usize, usize, usize); 2] = [(50_000, 4000, 128), (60_000, 5000, 100)];
/// What comes in blocks where so many bytes are free.
const IN_BLOCKS: (usize, usize, usize) = (200_000, 5000, 128);
const LEFT: usize = 128 << 20;
const SMALL: [(usize, usize, usize); 2] = [(70, 40, 7), (30, 17, 400)];

/// The answer, and whether all bits were the same.
pub fn run(request: &Request, device: Value) -> Outcome<(Value, bool)> {
    let shapes: &[_] = if request.small { &SMALL } else { &SHAPES };
    let mut cases = Vec::new();
    for (n, k, d) in shapes.iter().copied() {
        for (name, values) in kinds(n, d) {
            cases.push(compare(name, &values, d, k, Way::Copied, |builder| {
                builder
            })?);
        }
        let values = mixture(n, d);
        let weights = (0..n).map(|i| (i % 4) as f32 * 0.3).collect::<Vec<f32>>();
        let weighted = |builder: KMeansBuilder| builder.weights(weights.clone());
        cases.push(compare("weighted", &values, d, k, Way::Copied, weighted)?);
        let plain = |builder| builder;
        cases.push(compare("lent", &values, d, k, Way::Lent, plain)?);
        let spherical = |builder: KMeansBuilder| builder.spherical(true);
        cases.push(compare("spherical", &values, d, k, Way::Copied, spherical)?);
    }
    if !request.small {
        let plain = |builder| builder;
        for (n, k, d) in LARGE {
            cases.push(compare(
                "clustered",
                &mixture(n, d),
                d,
                k,
                Way::Copied,
                plain,
            )?);
        }
        let (n, k, d) = IN_BLOCKS;
        cases.push(compare(
            "in blocks",
            &mixture(n, d),
            d,
            k,
            Way::InBlocks,
            plain,
        )?);
    }
    let wrong = cases
        .iter()
        .filter(|case| case["differs"] != json!(0))
        .count();
    let answer = json!({ "device": device, "cases": cases, "wrong": wrong });
    Ok((answer, wrong == 0))
}

/// How points come to the device.
#[derive(Clone, Copy)]
enum Way {
    Copied,
    /// They lie there before.
    Lent,
    /// Because the device has no room for all of them.
    InBlocks,
}

/// Two iterations and the assignment after them on both.
fn compare(
    name: &str,
    values: &[f32],
    d: usize,
    k: usize,
    way: Way,
    change: impl Fn(KMeansBuilder) -> KMeansBuilder,
) -> Outcome<Value> {
    let n = values.len() / d;
    let points = Matrix::new(values, n, d)?;
    let kmeans = |device| {
        let builder = KMeans::builder(k)
            .iterations(2)
            .init(Init::Given(spread(values, d, k)))
            .max_points_per_centroid(n)
            .min_points_per_centroid(0);
        change(builder).device(device).build()
    };
    let cpu = kmeans(Device::Cpu)?.fit(points)?;
    let cuda = on_device(&kmeans(Device::Cuda(0))?, points, values, way)?;
    let floats = |a: &[f32], b: &[f32]| {
        let pairs = a.iter().zip(b);
        pairs.filter(|(a, b)| a.to_bits() != b.to_bits()).count()
    };
    let labels = cpu.labels.iter().zip(&cuda.labels);
    let labels = labels.filter(|(a, b)| a != b).count();
    let distances = floats(&cpu.distances, &cuda.distances);
    let centroids = floats(&cpu.centroids, &cuda.centroids);
    let objectives = cpu.iterations.iter().zip(&cuda.iterations);
    let objectives = objectives
        .filter(|(a, b)| a.objective.to_bits() != b.objective.to_bits())
        .count();
    let differs = labels + distances + centroids + objectives;
    let good = if differs == 0 {
        "the same bits"
    } else {
        "DIFFERENT"
    };
    eprintln!("{name}, {n} × {d}, {k} clusters: {good}");
    Ok(json!({
        "points": name, "n": n, "d": d, "k": k, "differs": differs,
        "labels": labels, "distances": distances, "centroids": centroids, "objectives": objectives,
    }))
}

fn on_device(kmeans: &KMeans, points: Matrix<'_>, values: &[f32], way: Way) -> Outcome<Fit> {
    let context = CudaContext::new(0)?;
    let stream = context.default_stream();
    match way {
        Way::Copied => Ok(kmeans.fit(points)?),
        Way::Lent => {
            let memory = stream.clone_htod(values)?;
            stream.synchronize()?;
            let (address, _reading) = memory.device_ptr(&stream);
            // SAFETY: `memory` holds these values until the fit is done, and nothing writes them.
            let points = unsafe { DevicePoints::new(address, points.rows(), points.cols(), 0)? };
            Ok(kmeans.fit_on_device(points)?)
        }
        Way::InBlocks => {
            stream.synchronize()?;
            let free = context.mem_get_info()?.0;
            let _ballast = stream.alloc_zeros::<u8>(free.saturating_sub(LEFT))?;
            let fit = kmeans.fit(points)?;
            let in_blocks = |said: &Warning| matches!(said, Warning::InBlocks { .. });
            match fit.warnings.iter().any(in_blocks) {
                true => Ok(fit),
                false => Err("points did not come in blocks".into()),
            }
        }
    }
}
